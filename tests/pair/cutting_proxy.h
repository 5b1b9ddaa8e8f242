// A way to a unix socket that tears.

#ifndef TANDEM_TESTS_PAIR_CUTTING_PROXY_H_
#define TANDEM_TESTS_PAIR_CUTTING_PROXY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "rpc/base/mutex.h"
#include "rpc/base/unique_fd.h"
#include "rpc/testing/temp_dir.h"

namespace tandem {

// Listens on a socket of its own and passes bytes between whoever connects and
// the socket behind it, until told to tear: then, after so many bytes in one
// direction, not one more passes in either, and all connections end. The next
// ones are whole.
//
// Thread safety: thread-safe.
class CuttingProxy {
 public:
  enum Direction { kToServer, kToClient };

  // `server` is a path.
  explicit CuttingProxy(std::string server);
  ~CuttingProxy();

  std::string address() const { return "unix:" + path_; }

  // Tears once `bytes` have passed in `direction` from now on, over all
  // connections together. Negative: never.
  void CutAfter(Direction direction, std::int64_t bytes)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Whether it has, since.
  bool has_cut() const ABSL_LOCKS_EXCLUDED(mu_);
  // What has passed, since.
  std::int64_t passed(Direction direction) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Its ends: of the client, of the server.
  using Connection = std::array<rpc::UniqueFd, 2>;

  void Run();
  void Accept();
  // Passes what is there from one end to the other; false at an end.
  bool Pass(const Connection& connection, Direction direction);
  // How many of `bytes` may pass; the budget's last is the cut.
  std::size_t Spend(Direction direction, std::size_t bytes)
      ABSL_LOCKS_EXCLUDED(mu_);

  const std::string server_;
  const rpc::testing::TempDir dir_;
  const std::string path_;
  rpc::UniqueFd listening_;
  rpc::UniqueFd stop_;
  std::vector<Connection> connections_;  // the thread's

  mutable rpc::Mutex mu_;
  Direction cut_direction_ ABSL_GUARDED_BY(mu_) = kToServer;
  std::int64_t cut_after_ ABSL_GUARDED_BY(mu_) = -1;
  bool has_cut_ ABSL_GUARDED_BY(mu_) = false;
  std::array<std::int64_t, 2> passed_ ABSL_GUARDED_BY(mu_) = {};

  std::thread thread_;
};

}  // namespace tandem

#endif  // TANDEM_TESTS_PAIR_CUTTING_PROXY_H_
