#include "rpc/socket/unix_address.h"

#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"

namespace tandem::rpc {
namespace {

constexpr std::string_view kScheme = "unix:";

std::string Quoted(std::string_view text) {
  return absl::StrCat(
      "\"", absl::CHexEscape(absl::string_view(text.data(), text.size())),
      "\"");
}

absl::Status Invalid(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("address ", Quoted(text), ": ", std::string(why)));
}

bool IsAllowed(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         (c >= '0' && c <= '9') ||
         std::string_view("._/+@-").find(c) != std::string_view::npos;
}

// What follows "unix:", without "//" of the form "unix:///path".
absl::StatusOr<std::string_view> PathOf(std::string_view text) {
  if (text.empty()) {
    return absl::InvalidArgumentError(
        "the address is empty: write unix:/path/of/the.sock");
  }
  if (text.starts_with("unix-abstract:") || text.starts_with("@") ||
      text.starts_with("unix:@")) {
    return Invalid(text,
                   "abstract sockets are not served, since they have neither "
                   "owner nor mode: write unix:/path/of/the.sock");
  }
  if (text.starts_with("/") || text.starts_with(".")) {
    return Invalid(text, "write unix: before the path");
  }
  if (!text.starts_with(kScheme)) {
    return Invalid(text,
                   "not a unix socket, and nothing else is served: write "
                   "unix:/path/of/the.sock");
  }
  std::string_view path = text.substr(kScheme.size());
  if (!path.starts_with("//")) return path;
  path.remove_prefix(2);
  if (!path.starts_with("/")) {
    return Invalid(text,
                   "no host may follow unix://, write three slashes or one");
  }
  return path;
}

absl::StatusOr<std::string> Absolute(std::string_view text,
                                     std::string_view path) {
  if (path.starts_with("/")) {
    // Two slashes would be read as the host's when it is written again.
    const std::size_t name = path.find_first_not_of('/');
    return std::string(name == path.npos ? "/" : path.substr(name - 1));
  }
  std::error_code error;
  const std::filesystem::path here = std::filesystem::current_path(error);
  if (error) {
    return Invalid(text, "the current directory is unknown (" +
                             error.message() + "): write an absolute path");
  }
  return (here / path).string();
}

absl::Status Check(std::string_view text, const UnixAddress& address) {
  const std::string& path = address.path();
  for (const char c : path) {
    if (IsAllowed(c)) continue;
    return Invalid(
        text,
        absl::StrCat("the character ", Quoted(std::string_view(&c, 1)), " in ",
                     Quoted(path), " is not one of A-Z a-z 0-9 . _ / + @ -"));
  }
  if (path.size() > kMaxSocketPathBytes) {
    return Invalid(text, absl::StrCat("the path has ", path.size(),
                                      " bytes, a socket's has at most ",
                                      kMaxSocketPathBytes));
  }
  const std::string name = address.name();
  if (name.empty() || name == "." || name == "..") {
    return Invalid(text, "the path names no file");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UnixAddress> UnixAddress::Parse(std::string_view text) {
  TANDEM_ASSIGN_OR_RETURN(const std::string_view path, PathOf(text));
  if (path.empty()) return Invalid(text, "the path names no file");
  TANDEM_ASSIGN_OR_RETURN(std::string absolute, Absolute(text, path));
  UnixAddress address(std::move(absolute));
  TANDEM_RETURN_IF_ERROR(Check(text, address));
  return address;
}

std::string UnixAddress::directory() const {
  const std::size_t slash = path_.rfind('/');
  return slash == 0 ? "/" : path_.substr(0, slash);
}

std::string UnixAddress::name() const {
  return path_.substr(path_.rfind('/') + 1);
}

}  // namespace tandem::rpc
