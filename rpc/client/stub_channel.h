// A channel for the stubs that gRPC generates.

#ifndef TANDEM_RPC_CLIENT_STUB_CHANNEL_H_
#define TANDEM_RPC_CLIENT_STUB_CHANNEL_H_

#include <grpcpp/impl/channel_interface.h>

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "rpc/client/channel.h"

namespace tandem::rpc {

// For clients that were written against gRPC's generated classes: a stub made
// from it once lives as long as the program, across restarts of the server.
//
//   auto channel = NewStubChannel("unix:/run/kv/kv.sock", {.server_uid = kv});
//   auto stub = kv::v1::Store::NewStub(*channel);
//
// As a Channel does, it connects when a call needs it, and verifies the server
// and the way to it before the first byte of each connection. gRPC's own
// channel to the same address, grpc::CreateChannel(), would talk to whoever has
// the path.
//
// It guarantees less than a Channel with Tandem's generated clients:
//   - A call has no deadline unless its context is given one.
//   - set_wait_for_ready() changes nothing: without a server a call ends with
//     UNAVAILABLE at once. WaitForConnected() waits for a server.
//   - A server that is stopping refuses new calls with UNAVAILABLE until its
//   last
//     one has ended: calls do not go to another connection before that.
//   - A call that breaks says what gRPC says, not what may have become of it. A
//     server that is not verified ends calls with PERMISSION_DENIED.
//   - Replies are not limited in size, nor messages compressed, nor calls
//     retried; NotifyOnStateChange() says at once that nothing has changed.
//   - It stands on parts of gRPC that are not for the public, which differ
//     between releases: they are tried out when the first one is made.
//
// Thread safety: thread-safe. Once it and its stubs are gone, calls still in
// flight end with UNAVAILABLE.
//
// `options.wire` has no meaning: stubs speak gRPC.
//
// Errors: kInvalidArgument when `address` is not a unix address; kInternal when
// this release of gRPC does not do what we rely on.
absl::StatusOr<std::shared_ptr<grpc::ChannelInterface>> NewStubChannel(
    std::string_view address, const ChannelOptions& options = {});

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_STUB_CHANNEL_H_
