// A trap of gRPC's callback API (1.51), and the way around it.

#ifndef TANDEM_RPC_WIRE_GRPC_CALLBACK_THREADS_H_
#define TANDEM_RPC_WIRE_GRPC_CALLBACK_THREADS_H_

namespace tandem::rpc {

// Keeps gRPC's callback threads until the process ends.
//
// gRPC starts them with the first channel that makes a callback call, and stops
// them when the last channel goes. A channel goes with its last call, on one of
// these very threads; that thread would then wait for itself, and gRPC aborts
// the process. So this makes one channel, without a connection, that never
// goes.
//
// Thread safety: thread-safe; only the first call does anything.
void KeepCallbackThreads();

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_CALLBACK_THREADS_H_
