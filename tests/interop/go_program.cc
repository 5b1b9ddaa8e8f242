#include "tests/interop/go_program.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "rpc/base/file.h"
#include "rpc/base/unique_fd.h"
#include "rpc/testing/process.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

constexpr int kOldestGo = 22;  // of 1.x
constexpr absl::Duration kBuildTimeout = absl::Minutes(15);

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Runs a command to its end; its output, or why it failed.
absl::StatusOr<std::string> Output(std::vector<std::string> command,
                                   std::vector<std::string> environment) {
  const rpc::testing::TempDir temp;
  const auto process =
      rpc::testing::Process::Start({.command = std::move(command),
                                    .log_path = temp.File("log"),
                                    .environment = std::move(environment)});
  if (!process.ok()) return process.status();
  const auto status = (*process)->Wait(kBuildTimeout);
  if (!status.ok()) return status.status();
  absl::StatusOr<std::string> output = rpc::ReadFile(temp.File("log"));
  if (*status == 0 || !output.ok()) return output;
  return absl::UnavailableError(*output);
}

// The go command, in the PATH or where its own archive unpacks.
absl::StatusOr<std::string> FindGo() {
  std::string path = Environment("PATH") + ":/usr/local/go/bin:";
  for (std::size_t end; (end = path.find(':')) != std::string::npos;
       path.erase(0, end + 1)) {
    const std::string go = path.substr(0, end) + "/go";
    if (::access(go.c_str(), X_OK) == 0) return go;
  }
  return absl::UnavailableError("there is no go command");
}

absl::Status CheckVersion(const std::string& go) {
  const auto version = Output({go, "env", "GOVERSION"}, {});
  if (!version.ok()) return version.status();
  int minor = 0;
  if (std::sscanf(version->c_str(), "go1.%d", &minor) == 1 &&
      minor >= kOldestGo) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat(go, " is ", *version));
}

// Of two tests that want the same program one builds it.
absl::StatusOr<rpc::UniqueFd> LockDirectory(const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  rpc::UniqueFd fd(
      ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.is_valid() && ::flock(fd.get(), LOCK_EX) == 0) return fd;
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot use ", directory));
}

absl::StatusOr<std::string> FindRecentGo() {
  auto go = FindGo();
  const absl::Status found = go.ok() ? CheckVersion(*go) : go.status();
  if (found.ok()) return go;
  return absl::UnavailableError(absl::StrCat(
      found.message(), ": install Go 1.", kOldestGo,
      " or later (https://go.dev/dl, or golang-go of a newer Debian)"));
}

absl::Status Build(const std::string& package, const std::string& version,
                   const std::string& directory) {
  const auto go = FindRecentGo();
  if (!go.ok()) return go.status();
  std::fprintf(stderr, "building %s@%s, once\n", package.c_str(),
               version.c_str());
  const auto built = Output({*go, "install", package + "@" + version},
                            {"GOBIN=" + directory, "GOFLAGS="});
  if (built.ok()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      "go install ", package, "@", version,
      " fails (does it reach the network?): ", built.status().message()));
}

}  // namespace

absl::StatusOr<std::string> GoProgram(const std::string& package,
                                      const std::string& version) {
  std::string cache = Environment("XDG_CACHE_HOME");
  if (cache.empty()) {
    const std::string home = Environment("HOME");
    cache = home.empty() ? TANDEM_BIN_DIR "/.." : home + "/.cache";
  }
  const std::string directory =
      absl::StrCat(cache, "/tandem/interop/", version);
  const auto lock = LockDirectory(directory);
  if (!lock.ok()) return lock.status();
  const std::string program =
      absl::StrCat(directory, "/", fs::path(package).filename().string());
  if (::access(program.c_str(), X_OK) != 0) {
    if (absl::Status status = Build(package, version, directory);
        !status.ok()) {
      return status;
    }
  }
  return program;
}

absl::StatusOr<std::string> GoModule(const GoModuleOptions& options) {
  const auto go = FindRecentGo();
  if (!go.ok()) return go.status();
  const std::string name = fs::path(options.directory).filename().string();
  const std::string directory = absl::StrCat(TANDEM_BIN_DIR "/../", name);
  const auto lock = LockDirectory(directory);
  if (!lock.ok()) return lock.status();
  std::error_code error;
  fs::copy(options.directory, directory,
           fs::copy_options::recursive | fs::copy_options::overwrite_existing,
           error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("cannot write ", directory, ": ", error.message()));
  }
  std::vector<std::string> translate = {TANDEM_PROTOC, "-I" + directory,
                                        options.proto};
  for (const auto& plugin : options.plugins) {
    translate.push_back(
        absl::StrCat("--plugin=protoc-gen-", plugin.name, "=", plugin.program));
    translate.push_back(absl::StrCat("--", plugin.name, "_out=", directory));
    translate.push_back(
        absl::StrCat("--", plugin.name, "_opt=", plugin.options));
  }
  if (const auto made = Output(std::move(translate), {}); !made.ok()) {
    return made.status();
  }
  const std::string program = absl::StrCat(directory, "/program");
  const auto built =
      Output({*go, "build", "-C", directory, "-o", program, "."}, {"GOFLAGS="});
  if (built.ok()) return program;
  return absl::UnavailableError(absl::StrCat("go build in ", directory,
                                             " fails (does it reach the "
                                             "network?): ",
                                             built.status().message()));
}

}  // namespace tandem::test
