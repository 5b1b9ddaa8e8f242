// Brings node and application to the same height, at the start of each
// connection to the application.

#ifndef TANDEM_NODE_RECOVERY_H_
#define TANDEM_NODE_RECOVERY_H_

#include "absl/status/status.h"
#include "node/app_connection.h"
#include "node/block.h"
#include "node/block_store.h"
#include "node/executor.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::node {

// Compares the last block of the application (A, from Info), of the store (S)
// and of the node's state (T; I is the chain's initial height), and
//   A = 0               calls InitChain, then goes on as below
//   A = S = T           does nothing
//   A < S = T           replays the blocks A+1 .. S
//   A < T, S = T+1      replays A+1 .. T, then applies S
//   A = T, S = T+1      applies S
//   A = S = T+1         applies S with the saved response; the application has
//                       it already
// and checks at each step that the application's hash is the chain's.
//
// The application may still be at work on a Commit that a node asked for which
// is gone: where they do not belong together, and Info then says another
// height, all is compared once more.
//
// Errors: those of Executor, and
//   kAborted             node and application do not belong together, which no
//                        restart mends; the message says what was compared and
//                        what an operator can do:
//                          A > S: the application is ahead of the node
//                          A+1 before the oldest block in the store
//                          another app hash than the chain has at A: another
//                          chain's application, or a broken one
//   kFailedPrecondition  A < 0, or A = S = T+1 and there is no saved response:
//                        the application answers nonsense
//   kDataLoss            S < T or S > T+1: the store is broken
absl::Status Recover(AppConnection& app,
                     const tendermint::abci::ResponseInfo& info,
                     BlockStore& store, Executor& executor);

// Whether an application that says `info` belongs to this store, whose state is
// `state`: what Recover() looks at before it calls anything. Errors: as there.
absl::Status CheckAgreement(const tendermint::abci::ResponseInfo& info,
                            const BlockStore& store, const ChainState& state);

}  // namespace tandem::node

#endif  // TANDEM_NODE_RECOVERY_H_
