#include "node/abci_socket_lane.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "proto/abci/socket_error.h"
#include "rpc/wire/message_check.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::node {

using abci::SocketCall;
using abci::SocketFrame;
using google::protobuf::MessageLite;
using rpc::BatchWriter;
using rpc::MutexLock;
using rpc::OutputBuffer;
using tendermint::abci::RequestFlush;
using tendermint::abci::ResponseException;

AbciSocketLane::AbciSocketLane(rpc::UniqueFd connection,
                               rpc::PollThread& thread, Options options)
    : fd_(std::move(connection)),
      thread_(thread),
      options_(std::move(options)),
      server_(options_.peer, "the ABCI socket protocol"),
      writer_(fd_.get(), BatchWriter::Batch::kInOrder) {}

absl::Status AbciSocketLane::Begin() {
  return thread_.Add(shared_from_this(), fd_.get(), EPOLLIN);
}

void AbciSocketLane::Start(rpc::ClientCall* call, const SocketCall& kind,
                           const MessageLite& request,
                           const rpc::CallOptions& options) {
  const absl::Duration timeout =
      options.timeout.value_or(rpc::kDefaultCallTimeout);
  Asked asked{.kind = &kind,
              .call = call,
              .timeout = timeout,
              .deadline = absl::Now() + timeout};
  const std::size_t bytes = request.ByteSizeLong();
  if (bytes > std::numeric_limits<int>::max()) {
    return Finish(asked, absl::ResourceExhaustedError(absl::StrCat(
                             kind.method->path, ": a request of ", bytes,
                             " bytes is more than Protobuf can carry")));
  }
  if (options.cancellation && options.cancellation->is_cancelled()) {
    return Finish(asked, rpc::CancelledByCaller(*kind.method));
  }
  std::uint64_t number = 0;
  bool is_over = false;
  bool is_sooner = false;
  const BatchWriter::Room room = writer_.Write([&](OutputBuffer& out) {
    MutexLock lock(mu_);
    is_over = is_over_;
    if (is_over) return;
    number = answered_ + asked_.size();
    is_sooner = asked.deadline < looks_at_;
    looks_at_ = std::min(looks_at_, asked.deadline);
    needs_flush_ |= &kind != &abci::FlushCall();
    Ask(out, asked, request, bytes);
    FlushIfNeeded(out);
  });
  if (is_over) return Finish(asked, server_.Closed(*kind.method));
  // From here on the call may be over.
  ResumeIf(room);
  if (is_sooner) {
    thread_.Run([self = shared_from_this()] { self->OnTime(); });
  }
  if (options.cancellation) CancelBy(*options.cancellation, number);
}

void AbciSocketLane::CancelBy(rpc::Cancellation cancellation,
                              std::uint64_t number) {
  const std::uint64_t key = cancellation.Add(
      [self = shared_from_this(), number] { self->Cancel(number); });
  {
    MutexLock lock(mu_);
    if (Asked* const asked = Waiting(number); asked != nullptr) {
      asked->cancellation = std::move(cancellation);
      asked->cancellation_key = key;
      return;
    }
  }
  cancellation.Remove(key);
}

void AbciSocketLane::Cancel(std::uint64_t number) {
  Asked given_up;
  {
    MutexLock lock(mu_);
    Asked* const asked = Waiting(number);
    if (asked == nullptr) return;
    given_up = *asked;
    asked->call = nullptr;
    asked->cancellation.reset();
  }
  Finish(given_up, rpc::CancelledByCaller(*given_up.kind->method));
}

AbciSocketLane::Asked* AbciSocketLane::Waiting(std::uint64_t number) {
  if (number < answered_ || number - answered_ >= asked_.size()) return nullptr;
  Asked& asked = asked_[number - answered_];
  return asked.call == nullptr ? nullptr : &asked;
}

void AbciSocketLane::Ask(OutputBuffer& out, const Asked& asked,
                         const MessageLite& request, std::size_t bytes) {
  asked_.push_back(asked);
  abci::AppendSocketFrame(out, asked.kind->request_member, request, bytes);
}

void AbciSocketLane::FlushIfNeeded(OutputBuffer& out) {
  if (is_flushing_ || !needs_flush_) return;
  is_flushing_ = true;
  needs_flush_ = false;
  Ask(out, {.kind = &abci::FlushCall()}, RequestFlush(), 0);
}

void AbciSocketLane::ResumeIf(BatchWriter::Room room) {
  if (room == BatchWriter::Room::kEnough) return;
  thread_.Change(*this, fd_.get(), EPOLLIN | EPOLLOUT);
}

void AbciSocketLane::OnReady(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    thread_.Change(*this, fd_.get(), EPOLLIN);
    ResumeIf(writer_.Resume());
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) Read();
}

void AbciSocketLane::OnTime() {
  std::vector<Asked> late;
  {
    MutexLock lock(mu_);
    const absl::Time now = absl::Now();
    looks_at_ = absl::InfiniteFuture();
    for (Asked& asked : asked_) {
      if (asked.call == nullptr) continue;
      if (asked.deadline > now) {
        looks_at_ = std::min(looks_at_, asked.deadline);
        continue;
      }
      late.push_back(asked);
      asked.call = nullptr;
      asked.cancellation.reset();
    }
    thread_.WakeAt(*this, looks_at_);
  }
  for (Asked& asked : late) {
    Finish(asked, server_.TooLate(*asked.kind->method, asked.timeout));
  }
}

void AbciSocketLane::Read() {
  const ssize_t got = input_.Receive(fd_.get(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    return Close(got == 0 ? "the application closed it" : std::strerror(errno));
  }
  // What the answers make others ask goes out at once, in order.
  writer_.BeginBatch();
  const absl::Status status = AnswerAll();
  ResumeIf(writer_.EndBatch());
  if (status.ok()) return;
  CloseWith([this, &status](const rpc::Method& method) {
    return Nonsense(method, status);
  });
}

absl::Status AbciSocketLane::AnswerAll() {
  while (true) {
    SocketFrame frame;
    const absl::StatusOr<bool> is_whole = abci::ReadSocketFrame(
        input_.unread(), options_.max_message_bytes, &frame);
    if (!is_whole.ok()) return is_whole.status();
    if (!*is_whole) {
      input_.Expect(frame.bytes);
      return absl::OkStatus();
    }
    const absl::Status status = Answer(frame);
    if (!status.ok()) return status;
    input_.Consume(frame.bytes);
  }
}

absl::Status AbciSocketLane::Answer(const SocketFrame& frame) {
  Asked asked;
  {
    MutexLock lock(mu_);
    if (is_over_) return absl::UnavailableError("it is closed");
    if (asked_.empty()) {
      return absl::InternalError(
          "the application answered without being asked");
    }
    asked = std::move(asked_.front());
    asked_.pop_front();
    ++answered_;
    if (asked.kind == &abci::FlushCall()) is_flushing_ = false;
  }
  absl::Status end;
  const absl::Status broken = EndOf(asked, frame, &end);
  if (!broken.ok()) {
    Finish(asked, Nonsense(*asked.kind->method, broken));
    return broken;
  }
  server_.SetAnswered();
  Finish(asked, std::move(end));
  if (asked.kind == &abci::FlushCall()) {
    ResumeIf(writer_.Write([this](OutputBuffer& out) {
      MutexLock lock(mu_);
      if (!is_over_) FlushIfNeeded(out);
    }));
  }
  return absl::OkStatus();
}

absl::Status AbciSocketLane::EndOf(const Asked& asked, const SocketFrame& frame,
                                   absl::Status* end) const {
  const rpc::Method& method = *asked.kind->method;
  const int bytes = static_cast<int>(frame.message.size());
  if (frame.member == abci::kExceptionMember) {
    ResponseException exception;
    exception.ParseFromArray(frame.message.data(), bytes);
    *end = abci::ErrorOf(exception.error());
    return absl::OkStatus();
  }
  if (frame.member != asked.kind->response_member) {
    return absl::InternalError(absl::StrCat(
        "member ", frame.member, " of a Response came where ",
        asked.kind->response_member, " answers ", method.path,
        server_.is_answered() ? ""
                              : ": does it speak gRPC alone (--wire grpc)?"));
  }
  if (asked.call == nullptr) return absl::OkStatus();
  *end = rpc::FitsClient(rpc::ParseMessage(frame.message,
                                           options_.max_message_bytes,
                                           method.path, asked.call->reply));
  return absl::OkStatus();
}

absl::Status AbciSocketLane::Nonsense(const rpc::Method& method,
                                      const absl::Status& why) const {
  return absl::UnavailableError(
      absl::StrCat(method.path, ": the connection to ", options_.peer,
                   " was ended, because ", why.message()));
}

void AbciSocketLane::Close(std::string why) {
  CloseWith([this, &why](const rpc::Method& method) {
    return server_.Broken(method, why);
  });
}

template <typename StatusOf>
void AbciSocketLane::CloseWith(StatusOf status_of) {
  std::deque<Asked> lost;
  {
    MutexLock lock(mu_);
    if (std::exchange(is_over_, true)) return;
    lost.swap(asked_);
  }
  writer_.Close();
  for (const Asked& asked : lost) Finish(asked, status_of(*asked.kind->method));
  thread_.Run([self = shared_from_this()] {
    self->thread_.Remove(*self, self->fd_.get());
  });
  options_.on_over();
}

void AbciSocketLane::Finish(const Asked& asked, absl::Status status) {
  if (asked.cancellation) {
    rpc::Cancellation(*asked.cancellation).Remove(asked.cancellation_key);
  }
  if (asked.call == nullptr) return;
  asked.call->status = std::move(status);
  asked.call->done(asked.call);
}

}  // namespace tandem::node
