#include "tests/pair/cutting_proxy.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "tests/support/raw_socket.h"

namespace tandem {

using rpc::MutexLock;

CuttingProxy::CuttingProxy(std::string server)
    : server_(std::move(server)),
      path_(dir_.File("proxy.sock")),
      listening_(test::ListenAt(path_, 64)),
      stop_(::eventfd(0, EFD_CLOEXEC)) {
  thread_ = std::thread([this] { Run(); });
}

CuttingProxy::~CuttingProxy() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

void CuttingProxy::CutAfter(Direction direction, std::int64_t bytes) {
  MutexLock lock(mu_);
  cut_direction_ = direction;
  cut_after_ = bytes;
  has_cut_ = false;
  passed_ = {};
}

bool CuttingProxy::has_cut() const {
  MutexLock lock(mu_);
  return has_cut_;
}

std::int64_t CuttingProxy::passed(Direction direction) const {
  MutexLock lock(mu_);
  return passed_[direction];
}

void CuttingProxy::Run() {
  while (true) {
    std::vector<pollfd> fds = {
        {.fd = stop_.get(), .events = POLLIN, .revents = 0},
        {.fd = listening_.get(), .events = POLLIN, .revents = 0}};
    for (const Connection& connection : connections_) {
      for (const rpc::UniqueFd& end : connection) {
        fds.push_back({.fd = end.get(), .events = POLLIN, .revents = 0});
      }
    }
    ::poll(fds.data(), fds.size(), -1);
    if (fds[0].revents != 0) return;
    for (std::size_t i = connections_.size(); i-- > 0;) {
      bool is_whole = true;
      for (const Direction direction : {kToServer, kToClient}) {
        if (fds[2 + 2 * i + direction].revents == 0) continue;
        is_whole = is_whole && Pass(connections_[i], direction);
      }
      if (!is_whole) connections_.erase(connections_.begin() + i);
      if (!is_whole && has_cut()) {
        connections_.clear();
        break;
      }
    }
    if (fds[1].revents != 0) Accept();
  }
}

void CuttingProxy::Accept() {
  Connection connection = {rpc::UniqueFd(::accept4(listening_.get(), nullptr,
                                                   nullptr, SOCK_CLOEXEC)),
                           test::ConnectTo(server_)};
  if (!connection[0].is_valid() || !connection[1].is_valid()) return;
  connections_.push_back(std::move(connection));
}

bool CuttingProxy::Pass(const Connection& connection, Direction direction) {
  char buffer[4096];
  const ssize_t got =
      ::recv(connection[direction].get(), buffer, sizeof(buffer), 0);
  if (got <= 0) return false;
  const std::size_t may = Spend(direction, static_cast<std::size_t>(got));
  for (std::size_t sent = 0; sent < may;) {
    const ssize_t wrote = ::send(connection[1 - direction].get(), buffer + sent,
                                 may - sent, MSG_NOSIGNAL);
    if (wrote <= 0) return false;
    sent += static_cast<std::size_t>(wrote);
  }
  return may == static_cast<std::size_t>(got);
}

std::size_t CuttingProxy::Spend(Direction direction, std::size_t bytes) {
  MutexLock lock(mu_);
  if (cut_after_ >= 0 && direction == cut_direction_) {
    const std::int64_t left = cut_after_ - passed_[direction];
    if (left < static_cast<std::int64_t>(bytes)) {
      bytes = static_cast<std::size_t>(std::max<std::int64_t>(left, 0));
      has_cut_ = true;
      cut_after_ = -1;
    }
  }
  passed_[direction] += static_cast<std::int64_t>(bytes);
  return bytes;
}

}  // namespace tandem
