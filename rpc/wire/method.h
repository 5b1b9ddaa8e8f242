// The dispatch table: all that a wire needs to know of a service. Generated.

#ifndef TANDEM_RPC_WIRE_METHOD_H_
#define TANDEM_RPC_WIRE_METHOD_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "google/protobuf/message_lite.h"
#include "rpc/server/reply.h"

namespace tandem::rpc {

enum class Shape : std::uint8_t { kUnary, kServerStream, kClientStream, kBidi };

// Where a handler's method runs: on a worker of the server's pool, or on the
// connection's own thread (tandem/rpc/v1/options.proto).
enum class Run : std::uint8_t { kPool, kInline };

// One row: one method of one service. Lives for ever.
struct Method {
  std::string_view service;  // "kv.v1.Store"
  std::string_view name;     // "Get"
  const char* path;          // "/kv.v1.Store/Get"
  // The service's, as in ServiceInfo.
  std::string_view fingerprint;
  Shape shape;
  Run run;
  int index;  // within ServiceInfo::methods
  // Default instances; New() makes more of the kind.
  const google::protobuf::MessageLite* request;
  const google::protobuf::MessageLite* reply;
  // Moves the contents of one reply into another.
  void (*move_reply)(google::protobuf::MessageLite& from,
                     google::protobuf::MessageLite& to);
  // Call the handler with typed messages. `unary` is null for streams, `stream`
  // for unary methods. `request` is null where the client streams, else lives
  // until the method returns.
  void (*unary)(void* handler, ServerCall& call) = nullptr;
  void (*stream)(void* handler, std::shared_ptr<ServerStream> stream,
                 const google::protobuf::MessageLite* request) = nullptr;
};

// One service.
struct ServiceInfo {
  std::string_view name;  // "kv.v1.Store"
  // 64 hexadecimal digits (rpc/codegen/fingerprint.h).
  std::string_view fingerprint;
  std::span<const Method> methods;
};

// A handler with its table: what servers take. The generated Serve(handler)
// makes it; the handler must outlive the server.
struct Served {
  const ServiceInfo* info = nullptr;
  void* handler = nullptr;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_METHOD_H_
