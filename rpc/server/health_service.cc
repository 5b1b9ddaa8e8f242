#include "rpc/server/health_service.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tandem::rpc {

absl::StatusOr<HealthService::Response> HealthService::Check(
    Call& call, const Request& request) {
  if (!Knows(request.service())) {
    return absl::NotFoundError(
        absl::StrCat("this server has no service ", request.service()));
  }
  Response response;
  MutexLock lock(mu_);
  response.set_status(Status());
  return response;
}

void HealthService::Watch(Call& call, const Request& request,
                          Writer<Response> out) {
  Response response;
  std::uint64_t id = 0;
  {
    MutexLock lock(mu_);
    response.set_status(Knows(request.service()) ? Status()
                                                 : Response::SERVICE_UNKNOWN);
    id = ++last_watcher_;
  }
  if (!out.Write(response).ok()) return;
  call.OnCancel([this, id] { Forget(id); });
  // Destroyed without the lock.
  std::map<std::uint64_t, Watcher> gone;
  MutexLock lock(mu_);
  if (is_stopped_) return End({request.service(), std::move(out)});
  watchers_.emplace(id, Watcher{request.service(), std::move(out)});
  // A client that has left by now may have been forgotten before it was known.
  if (call.is_cancelled()) gone.insert(watchers_.extract(id));
}

void HealthService::Stop() {
  std::map<std::uint64_t, Watcher> watchers;
  {
    MutexLock lock(mu_);
    is_stopped_ = true;
    watchers.swap(watchers_);
  }
  for (auto& [id, watcher] : watchers) End(std::move(watcher));
}

void HealthService::End(Watcher watcher) const {
  Response response;
  response.set_status(Response::NOT_SERVING);
  // Of what is not here nothing changes.
  if (Knows(watcher.service)) (void)watcher.out.Write(response);
  watcher.out.Finish(absl::UnavailableError("the server is stopping"));
}

bool HealthService::Knows(const std::string& service) const {
  return service.empty() || services_.count(service) != 0;
}

HealthService::Response::ServingStatus HealthService::Status() const {
  return is_stopped_ ? Response::NOT_SERVING : Response::SERVING;
}

void HealthService::Forget(std::uint64_t watcher) {
  // Destroyed without the lock.
  std::map<std::uint64_t, Watcher>::node_type gone;
  MutexLock lock(mu_);
  gone = watchers_.extract(watcher);
}

}  // namespace tandem::rpc
