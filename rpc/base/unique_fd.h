// Ownership of one file descriptor.

#ifndef TANDEM_RPC_BASE_UNIQUE_FD_H_
#define TANDEM_RPC_BASE_UNIQUE_FD_H_

namespace tandem::rpc {

// Owns one file descriptor and closes it on destruction.
//
// Thread safety: thread-compatible.
class UniqueFd {
 public:
  UniqueFd() = default;

  // Takes ownership of `fd`; -1 means "owns nothing".
  explicit UniqueFd(int fd) : fd_(fd) {}

  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  // Borrows the descriptor, which stays owned by this object.
  int get() const { return fd_; }
  bool is_valid() const { return fd_ >= 0; }

  // Gives up ownership; the caller closes the result.
  [[nodiscard]] int Release();

  // Closes the descriptor, if any.
  void Reset();

 private:
  int fd_ = -1;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_BASE_UNIQUE_FD_H_
