#include "rpc/testing/temp_dir.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace tandem::rpc::testing {
namespace {

// Leaves half of a socket path to the test.
constexpr std::size_t kLongestParent = 40;

std::string Parent() {
  const char* parent = std::getenv("TMPDIR");
  if (parent == nullptr || *parent != '/') return "/tmp";
  const std::string path = parent;
  return path.size() <= kLongestParent ? path : "/tmp";
}

}  // namespace

TempDir::TempDir() : path_(Parent() + "/tandem.XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) {
    std::perror(("mkdtemp " + path_).c_str());
    std::abort();
  }
}

TempDir::~TempDir() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error)
    std::fprintf(stderr, "%s stays: %s\n", path_.c_str(),
                 error.message().c_str());
}

std::string TempDir::File(std::string_view name) const {
  return path_ + "/" + std::string(name);
}

std::string TempDir::Address(std::string_view name) const {
  return "unix:" + File(name);
}

}  // namespace tandem::rpc::testing
