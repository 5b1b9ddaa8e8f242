#include "rpc/client/server_view.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace tandem::rpc {

void ServerView::set_hello(const v1::HelloReply& hello) {
  MutexLock lock(mu_);
  knows_services_ = true;
  for (const v1::ServiceSchema& service : hello.services()) {
    fingerprints_[service.name()] = service.fingerprint();
  }
}

absl::Status ServerView::Closed(const Method& method) const {
  if (!is_answered()) return NotLetIn(method);
  return absl::UnavailableError(
      absl::StrCat(method.path, ": the connection to ", peer_, " is closed"));
}

absl::Status ServerView::Broken(const Method& method,
                                std::string_view why) const {
  if (!is_answered()) return NotLetIn(method);
  return absl::UnavailableError(absl::StrCat(
      method.path, ": the connection to ", peer_, " broke before the answer (",
      std::string(why), "); whether the server acted on it is unknown"));
}

absl::Status ServerView::SpeaksAnother(const Method& method,
                                       std::string_view why) const {
  return absl::UnavailableError(
      absl::StrCat(method.path, ": ", peer_, " does not speak ",
                   std::string(wire_), " (", std::string(why), ")"));
}

absl::Status ServerView::Stopping(const Method& method) const {
  return absl::UnavailableError(
      absl::StrCat(method.path, ": ", peer_,
                   " cancelled the call, as servers do that stop; whether it "
                   "acted on it is unknown"));
}

absl::Status ServerView::TooLate(const Method& method,
                                 absl::Duration timeout) const {
  return absl::DeadlineExceededError(
      absl::StrCat(method.path, ": no answer from ", peer_, " within ",
                   absl::FormatDuration(timeout)));
}

absl::Status ServerView::MissingMethod(const Method& method) const {
  std::string text = absl::StrCat(peer_, " has no method ", method.path);
  MutexLock lock(mu_);
  const auto service = fingerprints_.find(method.service);
  if (!knows_services_) {
    absl::StrAppend(&text, "; it may be built from another .proto");
  } else if (service == fingerprints_.end()) {
    absl::StrAppend(&text, "; it does not serve ", std::string(method.service));
  } else if (service->second != method.fingerprint) {
    absl::StrAppend(&text, "; it was built from another .proto");
  }
  return absl::UnimplementedError(text);
}

absl::Status ServerView::NotLetIn(const Method& method) const {
  return absl::UnavailableError(absl::StrCat(
      method.path, ": ", peer_,
      " closed the connection without an answer: it is stopping, or uid ",
      ::geteuid(),
      " is not let in, or there are too many connections, or it does not "
      "speak ",
      std::string(wire_)));
}

absl::Status CancelledByCaller(const Method& method) {
  return absl::CancelledError(
      absl::StrCat(method.path, " was cancelled by its caller"));
}

absl::Status FitsClient(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) return status;
  return absl::FailedPreconditionError(status.message());
}

}  // namespace tandem::rpc
