#include "store.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace kv {

using tandem::rpc::Call;
using tandem::rpc::MutexLock;
using tandem::rpc::Writer;

absl::StatusOr<v1::GetReply> Store::Get(Call& call,
                                        const v1::GetRequest& request) {
  MutexLock lock(mu_);
  const auto found = values_.find(request.key());
  if (found == values_.end()) {
    return absl::NotFoundError(absl::StrCat("no key ", request.key()));
  }
  v1::GetReply reply;
  reply.set_value(found->second);
  return reply;
}

absl::StatusOr<v1::PutReply> Store::Put(Call& call,
                                        const v1::PutRequest& request) {
  if (request.key().empty()) return absl::InvalidArgumentError("empty key");
  v1::Change change;
  change.set_key(request.key());
  change.set_value(request.value());
  change.set_uid(call.caller().uid);
  MutexLock lock(mu_);
  values_[request.key()] = request.value();
  // A client that left, or that reads too slowly, is let go.
  std::erase_if(watchers_, [&change](Writer<v1::Change>& watcher) {
    const absl::Status sent = watcher.Write(change);
    if (!sent.ok()) watcher.Finish(sent);
    return !sent.ok();
  });
  return v1::PutReply();
}

void Store::Watch(Call& call, const v1::WatchRequest& request,
                  Writer<v1::Change> out) {
  MutexLock lock(mu_);
  watchers_.push_back(std::move(out));
}

}  // namespace kv
