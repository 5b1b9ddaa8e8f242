// A directory of the test's own.

#ifndef TANDEM_RPC_TESTING_TEMP_DIR_H_
#define TANDEM_RPC_TESTING_TEMP_DIR_H_

#include <string>
#include <string_view>

namespace tandem::rpc::testing {

// Makes an empty directory, mode 0700, and removes it with all that is in it.
// Its path is short enough for sockets (they have 107 bytes): under $TMPDIR, or
// /tmp where that is unset or long. Ends the process if no directory can be
// made.
//
// Thread safety: immutable.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }

  // "<path>/<name>".
  std::string File(std::string_view name) const;
  // "unix:<path>/<name>".
  std::string Address(std::string_view name) const;

 private:
  std::string path_;
};

}  // namespace tandem::rpc::testing

#endif  // TANDEM_RPC_TESTING_TEMP_DIR_H_
