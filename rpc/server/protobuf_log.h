// What protobuf says of messages that it does not like.

#ifndef TANDEM_RPC_SERVER_PROTOBUF_LOG_H_
#define TANDEM_RPC_SERVER_PROTOBUF_LOG_H_

namespace tandem::rpc {

// Makes protobuf log by spdlog, at level debug: else each request with a string
// that is not UTF-8 makes it write a line to standard error, and whoever may
// connect could fill the disk with them. The call's own error tells the caller.
// What ends the process is logged as critical.
//
// Call it before there are other threads.
void LogProtobufBySpdlog();

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_PROTOBUF_LOG_H_
