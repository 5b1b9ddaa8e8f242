// The store: what a newcomer writes to serve kv.v1.Store.

#ifndef TANDEM_TESTS_EXAMPLE_STORE_H_
#define TANDEM_TESTS_EXAMPLE_STORE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kv/v1/store.tandem.h"
#include "rpc/base/mutex.h"

namespace kv {

// Keeps keys and values in memory. Names no wire: the same object is served
// over a socket and called in process.
//
// Thread safety: thread-safe, since handlers run on several threads.
class Store final : public v1::StoreHandler {
 public:
  absl::StatusOr<v1::GetReply> Get(tandem::rpc::Call& call,
                                   const v1::GetRequest& request) override;
  absl::StatusOr<v1::PutReply> Put(tandem::rpc::Call& call,
                                   const v1::PutRequest& request) override;
  void Watch(tandem::rpc::Call& call, const v1::WatchRequest& request,
             tandem::rpc::Writer<v1::Change> out) override;

 private:
  tandem::rpc::Mutex mu_;
  std::map<std::string, std::string> values_ ABSL_GUARDED_BY(mu_);
  // One for each client that watches; no thread waits for any of them.
  std::vector<tandem::rpc::Writer<v1::Change>> watchers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace kv

#endif  // TANDEM_TESTS_EXAMPLE_STORE_H_
