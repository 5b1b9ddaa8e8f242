#include "proto/abci/socket_error.h"

#include "absl/strings/str_cat.h"

namespace tandem::abci {
namespace {

constexpr std::string_view kSeparator = ": ";

// kOk where a text begins with no error's name.
absl::StatusCode CodeNamed(std::string_view name) {
  const int last = static_cast<int>(absl::StatusCode::kUnauthenticated);
  for (int code = 1; code <= last; ++code) {
    const auto known = static_cast<absl::StatusCode>(code);
    if (name == absl::StatusCodeToString(known)) return known;
  }
  return absl::StatusCode::kOk;
}

}  // namespace

std::string ExceptionText(const absl::Status& error) {
  return absl::StrCat(absl::StatusCodeToString(error.code()),
                      std::string(kSeparator), error.message());
}

absl::Status ErrorOf(std::string_view exception_text) {
  const std::size_t end = exception_text.find(kSeparator);
  if (end != std::string_view::npos) {
    const absl::StatusCode code = CodeNamed(exception_text.substr(0, end));
    const std::string message(exception_text.substr(end + kSeparator.size()));
    if (code != absl::StatusCode::kOk) return absl::Status(code, message);
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the application answered with an exception: ",
                   exception_text.empty() ? "(it says no more)"
                                          : std::string(exception_text)));
}

}  // namespace tandem::abci
