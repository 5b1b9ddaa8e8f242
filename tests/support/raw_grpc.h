// What a gRPC client writes, for clients that do it wrong.

#ifndef TANDEM_TESTS_SUPPORT_RAW_GRPC_H_
#define TANDEM_TESTS_SUPPORT_RAW_GRPC_H_

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "rpc/base/unique_fd.h"
#include "tests/support/raw_socket.h"

namespace tandem::test {

// A server that has closed already hears nothing.
inline void Say(const rpc::UniqueFd& fd, std::string_view bytes) {
  (void)::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

// An HTTP/2 frame.
inline std::string Frame(char type, char flags, std::uint32_t stream,
                         std::string_view body) {
  std::string frame;
  for (const int shift : {16, 8, 0}) frame += char(body.size() >> shift);
  frame += type;
  frame += flags;
  for (const int shift : {24, 16, 8, 0}) frame += char(stream >> shift);
  return frame.append(body);
}

// What begins every connection.
inline std::string Greeting() {
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(4, 0, 0, "");
}

// What begins a call of `path` ("/kv.v1.Store/Get") on a stream of an odd
// number.
inline std::string BegunCall(std::uint32_t stream, std::string_view path) {
  std::string headers;
  const auto add = [&headers](std::string_view name, std::string_view value) {
    headers += '\0';  // Literal, not indexed.
    (headers += char(name.size())).append(name);
    (headers += char(value.size())).append(value);
  };
  add(":method", "POST");
  add(":scheme", "http");
  add(":path", path);
  add(":authority", "localhost");
  add("te", "trailers");
  add("content-type", "application/grpc");
  return Frame(1, 4, stream, headers);
}

// A whole unary call, with an encoded message.
inline std::string UnaryCall(std::uint32_t stream, std::string_view path,
                             std::string_view message) {
  std::string data(1, '\0');  // Not compressed.
  for (const int shift : {24, 16, 8, 0}) data += char(message.size() >> shift);
  data += message;
  return BegunCall(stream, path) + Frame(0, 1, stream, data);
}

}  // namespace tandem::test

#endif  // TANDEM_TESTS_SUPPORT_RAW_GRPC_H_
