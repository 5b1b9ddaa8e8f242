// Either end of the ABCI socket protocol, played by a test: messages that
// follow one another, each behind its length.

#ifndef TANDEM_TESTS_SUPPORT_DELIMITED_SOCKET_H_
#define TANDEM_TESTS_SUPPORT_DELIMITED_SOCKET_H_

#include <sys/socket.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/delimited_message_util.h"
#include "rpc/base/unique_fd.h"

namespace tandem::test {

inline std::string Delimited(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream out(&bytes);
  google::protobuf::util::SerializeDelimitedToZeroCopyStream(message, &out);
  return bytes;
}

// Reads messages of this type.
//
// Thread safety: one thread reads, one sends.
template <typename Incoming>
class DelimitedSocket {
 public:
  explicit DelimitedSocket(rpc::UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }

  // Until the other end has closed.
  void SendBytes(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t took =
          ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (took <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(took));
    }
  }
  void Send(const google::protobuf::Message& message) {
    SendBytes(Delimited(message));
  }

  // Blocks; nothing once the other end has closed.
  std::optional<Incoming> Read() {
    while (true) {
      Incoming message;
      bool is_at_end = false;
      google::protobuf::io::ArrayInputStream in(
          bytes_.data(), static_cast<int>(bytes_.size()));
      if (google::protobuf::util::ParseDelimitedFromZeroCopyStream(
              &message, &in, &is_at_end)) {
        bytes_.erase(0, static_cast<std::size_t>(in.ByteCount()));
        return message;
      }
      char more[1 << 16];
      const ssize_t got = ::recv(fd_.get(), more, sizeof(more), 0);
      if (got <= 0) return std::nullopt;
      bytes_.append(more, static_cast<std::size_t>(got));
    }
  }

 private:
  rpc::UniqueFd fd_;
  std::string bytes_;
};

}  // namespace tandem::test

#endif  // TANDEM_TESTS_SUPPORT_DELIMITED_SOCKET_H_
