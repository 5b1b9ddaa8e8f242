#include "tests/bench/wire/raw_echo.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "rpc/base/status_macros.h"
#include "rpc/base/unique_fd.h"
#include "rpc/server/termination.h"
#include "rpc/wire/frames/input_buffer.h"
#include "rpc/wire/frames/output_buffer.h"
#include "tests/bench/wire/closed_loop.h"
#include "tests/bench/wire/echo.pb.h"
#include "tests/bench/wire/endpoint.h"

namespace tandem::bench {
namespace {

using ::tests::bench::Item;

constexpr std::size_t kBuffer = 256 << 10;

// The first byte of a connection: what follows.
enum Mode : char {
  kEchoBytes = 'e',
  kEchoFrames = 'f',
  kPushBytes = 'p',   // Until the end, which is answered with one byte.
  kPushFrames = 'P',  // The same, in frames.
  kReadBytes = 'r',   // A length of 8 bytes; answered with as many.
};

absl::Status Broken(const char* what) {
  return absl::ErrnoToStatus(errno == 0 ? ECONNRESET : errno, what);
}

bool SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool ReceiveAll(int fd, char* into, std::size_t bytes) {
  return ::recv(fd, into, bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes);
}

// Frames.

void AppendFrame(rpc::OutputBuffer& out, const Item& item) {
  const auto bytes = static_cast<std::uint32_t>(item.ByteSizeLong());
  char* const place = out.Extend(sizeof(bytes) + bytes);
  std::memcpy(place, &bytes, sizeof(bytes));
  item.SerializeWithCachedSizesToArray(reinterpret_cast<std::uint8_t*>(place) +
                                       sizeof(bytes));
}

// Parses each frame that has come into `item`, and calls `handle()`.
template <typename Handle>
void TakeFrames(rpc::InputBuffer& in, Item& item, Handle handle) {
  while (true) {
    const std::string_view unread = in.unread();
    std::uint32_t bytes = 0;
    if (unread.size() < sizeof(bytes)) return;
    std::memcpy(&bytes, unread.data(), sizeof(bytes));
    if (unread.size() < sizeof(bytes) + bytes) {
      return in.Expect(sizeof(bytes) + bytes);
    }
    (void)item.ParseFromArray(unread.data() + sizeof(bytes),
                              static_cast<int>(bytes));
    in.Consume(sizeof(bytes) + bytes);
    handle();
  }
}

// The server.

void EchoBytes(int fd) {
  std::vector<char> buffer(kBuffer);
  while (true) {
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0 ||
        !SendAll(fd, {buffer.data(), static_cast<std::size_t>(got)})) {
      return;
    }
  }
}

void EchoFrames(int fd) {
  rpc::InputBuffer in;
  rpc::OutputBuffer out;
  Item request;
  Item reply;
  while (in.Receive(fd, 0) > 0) {
    TakeFrames(in, request, [&] {
      reply.set_number(request.number());
      reply.set_data(request.data());
      AppendFrame(out, reply);
    });
    if (!SendAll(fd, out.unsent())) return;
    out.Clear();
  }
}

void TakeBytes(int fd) {
  std::vector<char> buffer(kBuffer);
  while (::recv(fd, buffer.data(), buffer.size(), 0) > 0) {
  }
  SendAll(fd, "!");
}

void TakePushedFrames(int fd) {
  rpc::InputBuffer in;
  Item item;
  while (in.Receive(fd, 0) > 0) TakeFrames(in, item, [] {});
  SendAll(fd, "!");
}

void GiveBytes(int fd) {
  const std::string chunk(kChunk, 'x');
  std::uint64_t bytes = 0;
  while (ReceiveAll(fd, reinterpret_cast<char*>(&bytes), sizeof(bytes))) {
    while (bytes > 0) {
      const std::size_t some = std::min<std::uint64_t>(bytes, chunk.size());
      if (!SendAll(fd, std::string_view(chunk).substr(0, some))) return;
      bytes -= some;
    }
  }
}

void ServeConnection(rpc::UniqueFd fd) {
  char mode = 0;
  if (!ReceiveAll(fd.get(), &mode, 1)) return;
  switch (mode) {
    case kEchoBytes:
      return EchoBytes(fd.get());
    case kEchoFrames:
      return EchoFrames(fd.get());
    case kPushBytes:
      return TakeBytes(fd.get());
    case kPushFrames:
      return TakePushedFrames(fd.get());
    case kReadBytes:
      return GiveBytes(fd.get());
    default:
      return;
  }
}

// The clients.

// Sends what is unsent and reads, without waiting for the one where the other
// can go on; the loop of both.
class Pump {
 public:
  explicit Pump(int fd) : fd_(fd) {}

  // `unsent` bytes, of which it returns how many are sent; -1: broken.
  ssize_t Send(std::string_view unsent) const {
    const ssize_t sent =
        ::send(fd_, unsent.data(), unsent.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 && errno == EAGAIN ? 0 : sent;
  }
  // What to recv(2) with: after a wait, where something is unsent yet.
  int ReceiveFlags(bool is_all_sent) const {
    if (is_all_sent) return 0;
    pollfd ready = {fd_, POLLIN | POLLOUT, 0};
    ::poll(&ready, 1, -1);
    return MSG_DONTWAIT;
  }

 private:
  const int fd_;
};

// When calls began, which are answered in their order.
class InOrder {
 public:
  explicit InOrder(const Cell& cell)
      : loop_(cell),
        every_(cell.depth > 8 ? 16 : 1),
        end_(NowNanos() + static_cast<std::int64_t>(cell.seconds * 1e9)),
        begun_(NowNanos()),
        in_flight_(cell.depth),
        sent_(cell.depth),
        begun_of_(static_cast<std::size_t>(cell.depth), begun_) {
    micros_.reserve(1 << 16);
  }

  // The oldest call is answered; whether another is to follow.
  bool Next() {
    std::int64_t& begun =
        begun_of_[static_cast<std::size_t>(done_ % loop_.depth)];
    if (done_++ % every_ == 0) {
      micros_.push_back(MicrosSince(begun));
      is_over_ = is_over_ || (loop_.calls == 0 && NowNanos() >= end_);
    }
    if (is_over_ || (loop_.calls != 0 && sent_ >= loop_.calls)) {
      --in_flight_;
      return false;
    }
    // It takes the place of the one that was answered.
    if ((done_ - 1 + loop_.depth) % every_ == 0) begun = NowNanos();
    ++sent_;
    return true;
  }

  bool is_over() const { return in_flight_ == 0; }
  Figures figures() {
    return Summarize(done_, static_cast<double>(NowNanos() - begun_) / 1e9,
                     micros_);
  }

 private:
  const Cell loop_;
  const std::int64_t every_;
  const std::int64_t end_;
  const std::int64_t begun_;
  std::int64_t in_flight_;
  std::int64_t sent_;
  std::int64_t done_ = 0;
  bool is_over_ = false;
  std::vector<std::int64_t> begun_of_;
  std::vector<float> micros_;
};

class RawCaller : public Caller {
 public:
  explicit RawCaller(std::string address) : address_(std::move(address)) {}

  absl::Status Begin(Mode mode) {
    TANDEM_ASSIGN_OR_RETURN(fd_, ConnectSoon(address_));
    return SendAll(fd_.get(), {reinterpret_cast<const char*>(&mode), 1})
               ? absl::OkStatus()
               : Broken("send");
  }

 protected:
  // Sends what `append(OutputBuffer&)` adds for each of the cell's messages,
  // and waits until all have arrived.
  template <typename Append>
  absl::StatusOr<Figures> Push(const Cell& cell, Mode mode, Append append) {
    TANDEM_ASSIGN_OR_RETURN(const rpc::UniqueFd fd, Connect(address_));
    rpc::OutputBuffer out;
    out.Append({reinterpret_cast<const char*>(&mode), 1});
    const std::int64_t begun = NowNanos();
    for (std::int64_t i = 0; i < cell.calls; ++i) {
      append(out);
      if (out.size() < kChunk && i + 1 < cell.calls) continue;
      if (!SendAll(fd.get(), out.unsent())) return Broken("send");
      out.Clear();
    }
    ::shutdown(fd.get(), SHUT_WR);
    char arrived = 0;
    if (!ReceiveAll(fd.get(), &arrived, 1)) return Broken("recv");
    return PushedSince(begun, cell);
  }

  const std::string address_;
  rpc::UniqueFd fd_;
};

class BytesCaller final : public RawCaller {
 public:
  using RawCaller::RawCaller;

 private:
  absl::StatusOr<Figures> RunCalls(const Cell& cell) override {
    const std::size_t size = std::max<std::size_t>(cell.payload, 1);
    const std::string out(std::max(size, kBuffer), 'x');
    std::vector<char> in(kBuffer);
    const Pump pump(fd_.get());
    InOrder calls(cell);
    std::size_t unsent = size * static_cast<std::size_t>(cell.depth);
    std::size_t received = 0;
    while (!calls.is_over()) {
      if (unsent > 0) {
        const ssize_t sent = pump.Send(std::string_view(out).substr(0, unsent));
        if (sent < 0) return Broken("send");
        unsent -= static_cast<std::size_t>(sent);
      }
      const ssize_t got = ::recv(fd_.get(), in.data(), in.size(),
                                 pump.ReceiveFlags(unsent == 0));
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) return Broken("recv");
      for (received += static_cast<std::size_t>(got); received >= size;
           received -= size) {
        if (calls.Next()) unsent += size;
      }
    }
    return calls.figures();
  }

  absl::StatusOr<Figures> RunPush(const Cell& cell) override {
    const std::string message(cell.payload, 'x');
    return Push(cell, kPushBytes,
                [&](rpc::OutputBuffer& out) { out.Append(message); });
  }

  absl::StatusOr<Figures> RunRead(const Cell& cell) override {
    const Mode mode = kReadBytes;
    TANDEM_ASSIGN_OR_RETURN(const rpc::UniqueFd fd, Connect(address_));
    if (!SendAll(fd.get(), {reinterpret_cast<const char*>(&mode), 1})) {
      return Broken("send");
    }
    std::vector<char> buffer(kBuffer);
    return ClosedLoop(cell).RunBlocking([&]() -> absl::Status {
      const std::uint64_t bytes = cell.payload;
      if (!SendAll(fd.get(),
                   {reinterpret_cast<const char*>(&bytes), sizeof(bytes)})) {
        return Broken("send");
      }
      for (std::uint64_t left = bytes; left > 0;) {
        const ssize_t got = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
        if (got <= 0) return Broken("recv");
        left -= static_cast<std::uint64_t>(got);
      }
      return absl::OkStatus();
    });
  }

  absl::StatusOr<Figures> RunConnects(const Cell& cell) override {
    std::string bytes(cell.payload + 1, kEchoBytes);
    return ClosedLoop(cell).RunBlocking([&]() -> absl::Status {
      TANDEM_ASSIGN_OR_RETURN(const rpc::UniqueFd fd, Connect(address_));
      std::string reply(cell.payload, 0);
      if (!SendAll(fd.get(), bytes) ||
          !ReceiveAll(fd.get(), reply.data(), reply.size())) {
        return Broken("echo");
      }
      return absl::OkStatus();
    });
  }
};

class FramesCaller final : public RawCaller {
 public:
  using RawCaller::RawCaller;

 private:
  static Item Request(const Cell& cell) {
    Item item;
    item.set_number(42);
    item.set_data(std::string(cell.payload, 'x'));
    return item;
  }

  absl::StatusOr<Figures> RunCalls(const Cell& cell) override {
    const Item request = Request(cell);
    Item reply;
    rpc::InputBuffer in;
    rpc::OutputBuffer out;
    const Pump pump(fd_.get());
    InOrder calls(cell);
    for (int i = 0; i < cell.depth; ++i) AppendFrame(out, request);
    while (!calls.is_over()) {
      if (!out.is_empty()) {
        const ssize_t sent = pump.Send(out.unsent());
        if (sent < 0) return Broken("send");
        out.Consume(static_cast<std::size_t>(sent));
      }
      const ssize_t got =
          in.Receive(fd_.get(), pump.ReceiveFlags(out.is_empty()));
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) return Broken("recv");
      TakeFrames(in, reply, [&] {
        if (calls.Next()) AppendFrame(out, request);
      });
    }
    return calls.figures();
  }

  absl::StatusOr<Figures> RunPush(const Cell& cell) override {
    const Item item = Request(cell);
    return Push(cell, kPushFrames,
                [&](rpc::OutputBuffer& out) { AppendFrame(out, item); });
  }
};

}  // namespace

absl::Status ServeRaw(const std::string& address) {
  TANDEM_ASSIGN_OR_RETURN(const auto termination, rpc::Termination::Create());
  TANDEM_ASSIGN_OR_RETURN(const rpc::UniqueFd listener, Listen(address));
  while (true) {
    pollfd ready[] = {{listener.get(), POLLIN, 0},
                      {termination->fd(), POLLIN, 0}};
    ::poll(ready, 2, -1);
    if (ready[1].revents != 0) return absl::OkStatus();
    if (ready[0].revents == 0) continue;
    rpc::UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.is_valid()) continue;
    const int on = 1;
    (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    std::thread([fd = std::move(fd)]() mutable {
      ServeConnection(std::move(fd));
    }).detach();
  }
}

absl::StatusOr<std::unique_ptr<Caller>> CallBytes(const std::string& address) {
  auto caller = std::make_unique<BytesCaller>(address);
  TANDEM_RETURN_IF_ERROR(caller->Begin(kEchoBytes));
  return caller;
}

absl::StatusOr<std::unique_ptr<Caller>> CallFrames(const std::string& address) {
  auto caller = std::make_unique<FramesCaller>(address);
  TANDEM_RETURN_IF_ERROR(caller->Begin(kEchoFrames));
  return caller;
}

}  // namespace tandem::bench
