// Addresses, as a command line may have them.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "rpc/socket/handed_in_socket.h"
#include "rpc/socket/unix_address.h"

namespace {

using tandem::rpc::UnixAddress;

void Check(bool holds) {
  if (!holds) std::abort();
}

// What every address that is taken promises.
void CheckAddress(const UnixAddress& address) {
  const std::string& path = address.path();
  Check(path.starts_with("/"));
  Check(path.size() <= tandem::rpc::kMaxSocketPathBytes);
  Check(path.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "abcdefghijklmnopqrstuvwxyz"
                               "0123456789._/+@-") == path.npos);
  const std::string name = address.name();
  Check(!name.empty() && name != "." && name != "..");
  Check(name.find('/') == name.npos);
  const std::string directory = address.directory();
  Check((directory == "/" ? "/" + name : directory + "/" + name) == path);
  const auto again = UnixAddress::Parse(address.ToString());
  Check(again.ok() && again->path() == path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto address = UnixAddress::Parse(text);
  if (address.ok()) {
    CheckAddress(*address);
    Check(!tandem::rpc::IsHandedIn(text));
  } else {
    Check(absl::IsInvalidArgument(address.status()));
  }
  // A number that the parser makes up may be a descriptor of ours: those that
  // are taken are given back unclosed.
  if (text.starts_with("fd:")) {
    auto taken = tandem::rpc::TakeHandedInSocket(text);
    if (taken.ok()) Check(taken->fd.Release() >= 0);
  }
  return 0;
}
