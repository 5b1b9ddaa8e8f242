// The node's side of the ABCI socket protocol, against servers that follow a
// script: what CometBFT's own does, and what none should.

#include "node/abci_socket_session.h"

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/mutex.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/cancellation.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tendermint/abci/types.pb.h"
#include "tendermint/abci/types.tandem.h"
#include "tests/support/delimited_socket.h"
#include "tests/support/descriptors.h"
#include "tests/support/raw_socket.h"

namespace tandem::node {
namespace {

using ::tandem::rpc::UniqueFd;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::tandem::test::Delimited;
using ::tendermint::abci::ABCIClient;
using ::tendermint::abci::Request;
using ::tendermint::abci::RequestCheckTx;
using ::tendermint::abci::RequestCommit;
using ::tendermint::abci::RequestEcho;
using ::tendermint::abci::RequestInfo;
using ::tendermint::abci::RequestQuery;
using ::tendermint::abci::Response;
using ::tendermint::abci::ResponseCheckTx;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(30);
constexpr std::size_t kMaxMessage = 1 << 20;

Response CheckTxAnswer(const Request& request) {
  Response answer;
  answer.mutable_check_tx()->set_data(request.check_tx().tx());
  return answer;
}

// What a well-behaved application says.
Response AnswerTo(const Request& request) {
  Response answer;
  switch (request.value_case()) {
    case Request::kFlush:
      answer.mutable_flush();
      break;
    case Request::kInfo:
      answer.mutable_info()->set_data("fake");
      break;
    case Request::kQuery:
      answer.mutable_query()->set_value(request.query().data());
      break;
    case Request::kCheckTx:
      return CheckTxAnswer(request);
    case Request::kCommit:
      answer.mutable_commit()->set_retain_height(7);
      break;
    default:
      ADD_FAILURE() << "unexpected: " << request.ShortDebugString();
  }
  return answer;
}

// The application's end of one connection.
class Peer : public test::DelimitedSocket<Request> {
 public:
  using DelimitedSocket::DelimitedSocket;

  // Answers well until the node closes.
  void Serve() {
    while (std::optional<Request> request = Read()) Send(AnswerTo(*request));
  }
};

// A server of connections that each follow `script`, told which member the
// first request on it has.
class FakeServer {
 public:
  using Script = std::function<void(Peer& peer, const Request& first)>;

  explicit FakeServer(Script script) : script_(std::move(script)) {
    listening_ = test::ListenAt(path(), 16);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~FakeServer() {
    ::shutdown(listening_.get(), SHUT_RDWR);
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
  }

  std::string path() const { return dir_.File("app.sock"); }

  std::unique_ptr<rpc::Session> Connect() const {
    auto address = rpc::UnixAddress::Parse(absl::StrCat("unix:", path()));
    EXPECT_THAT(address, IsOk());
    auto session = OpenAbciSocketSession(
        *address, {.server_uid = ::geteuid(), .max_message_bytes = kMaxMessage},
        kLong);
    EXPECT_THAT(session, IsOk());
    return *std::move(session);
  }

 private:
  void Accept() {
    while (true) {
      UniqueFd fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd.is_valid()) return;
      threads_.emplace_back(
          [this, peer = std::make_shared<Peer>(std::move(fd))] {
            const std::optional<Request> first = peer->Read();
            if (first) script_(*peer, *first);
          });
    }
  }

  const rpc::testing::TempDir dir_;
  const Script script_;
  UniqueFd listening_;
  std::vector<std::thread> threads_;  // of acceptor_, until it is joined
  std::thread acceptor_;
};

void ServeWell(Peer& peer, const Request& first) {
  peer.Send(AnswerTo(first));
  peer.Serve();
}

// As CometBFT's server, which keeps answers until it is asked for a Flush.
void ServeOnFlush(Peer& peer, const Request& first) {
  std::string kept;
  std::optional<Request> request = first;
  for (; request; request = peer.Read()) {
    kept += Delimited(AnswerTo(*request));
    if (!request->has_flush()) continue;
    peer.SendBytes(kept);
    kept.clear();
  }
}

RequestCheckTx CheckTx(const std::string& tx) {
  RequestCheckTx request;
  request.set_tx(tx);
  return request;
}

// Answers to calls with a callback, in the order in which they came.
class Answers {
 public:
  auto Next() {
    return [this](const absl::StatusOr<ResponseCheckTx>& answer) {
      rpc::MutexLock lock(mu_);
      answers_.push_back(answer);
      mu_.NotifyAll();
    };
  }
  std::vector<absl::StatusOr<ResponseCheckTx>> Wait(std::size_t count) {
    rpc::MutexLock lock(mu_);
    EXPECT_TRUE(mu_.AwaitFor(kLong, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return answers_.size() >= count;
    }));
    return answers_;
  }

 private:
  rpc::Mutex mu_;
  std::vector<absl::StatusOr<ResponseCheckTx>> answers_ ABSL_GUARDED_BY(mu_);
};

TEST(AbciSocketSessionTest, ServersThatAnswerOnFlushAloneAreAskedForIt) {
  FakeServer server(ServeOnFlush);
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  EXPECT_EQ(app.Info(RequestInfo())->data(), "fake");
  EXPECT_EQ(app.CheckTx(CheckTx("a"))->data(), "a");
  EXPECT_EQ(app.Commit(RequestCommit())->retain_height(), 7);
  // Those asked together, too.
  Answers answers;
  for (int i = 0; i < 1000; ++i) {
    app.CheckTx(CheckTx(absl::StrCat(i)), {}, answers.Next());
  }
  const auto got = answers.Wait(1000);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_THAT(got[i], IsOk());
    ASSERT_EQ(got[i]->data(), absl::StrCat(i));
  }
}

TEST(AbciSocketSessionTest, MoreCallsThanTheKernelKeepsAreAnswered) {
  // Reads nothing until the node has said all that it has to.
  std::promise<void> all_asked;
  std::shared_future<void> may_read(all_asked.get_future());
  FakeServer server([may_read](Peer& peer, const Request& first) {
    may_read.wait();
    ServeWell(peer, first);
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  Answers answers;
  const std::string large(4096, 'x');
  for (int i = 0; i < 2000; ++i) {
    app.CheckTx(CheckTx(large), {.timeout = kLong}, answers.Next());
  }
  all_asked.set_value();
  for (const auto& answer : answers.Wait(2000)) ASSERT_THAT(answer, IsOk());
}

TEST(AbciSocketSessionTest, LanesDoNotWaitForEachOther) {
  std::promise<void> queried;
  std::shared_future<void> is_queried(queried.get_future());
  FakeServer server([is_queried](Peer& peer, const Request& first) {
    if (first.has_commit()) is_queried.wait();
    ServeWell(peer, first);
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  std::promise<void> committed;
  app.Commit(RequestCommit(), {.timeout = kLong},
             [&](const absl::StatusOr<tendermint::abci::ResponseCommit>& end) {
               EXPECT_THAT(end, IsOk());
               committed.set_value();
             });
  EXPECT_THAT(app.Query(RequestQuery()), IsOk());
  EXPECT_THAT(app.CheckTx(CheckTx("a")), IsOk());
  queried.set_value();
  committed.get_future().wait();
}

TEST(AbciSocketSessionTest, AnExceptionEndsItsCallAlone) {
  FakeServer server([](Peer& peer, const Request& first) {
    Response exception;
    exception.mutable_exception()->set_error("no such thing");
    peer.Send(exception);
    peer.Serve();
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  EXPECT_THAT(
      app.CheckTx(CheckTx("a")),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("exception"), HasSubstr("no such thing"))));
  EXPECT_EQ(app.CheckTx(CheckTx("b"))->data(), "b");
  EXPECT_FALSE(session->is_over());
}

TEST(AbciSocketSessionTest, AnAnswerOfAnotherKindEndsTheSession) {
  std::promise<void> both_asked;
  std::shared_future<void> may_answer(both_asked.get_future());
  FakeServer server([may_answer](Peer& peer, const Request& first) {
    may_answer.wait();
    peer.Send(AnswerTo(first));
    peer.Read();
    Response info;
    info.mutable_info();
    peer.Send(info);
    peer.Serve();
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  Answers answers;
  // The first goes with a Flush, and the second is what that is followed by.
  app.CheckTx(CheckTx("a"), {.timeout = kLong}, answers.Next());
  app.CheckTx(CheckTx("b"), {.timeout = kLong}, answers.Next());
  both_asked.set_value();
  EXPECT_TRUE(session->WaitOver(kLong));
  EXPECT_THAT(answers.Wait(2)[1],
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("member 4 of a Response")));
  EXPECT_THAT(app.CheckTx(CheckTx("c")),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(app.Commit(RequestCommit()),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST(AbciSocketSessionTest, AServerOfAnotherProtocolIsNamed) {
  FakeServer server([](Peer& peer, const Request& first) {
    // A SETTINGS frame of HTTP/2.
    peer.SendBytes(std::string("\0\0\0\4\0\0\0\0\0", 9));
    peer.Serve();
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  EXPECT_THAT(app.Info(RequestInfo()), StatusIs(absl::StatusCode::kUnavailable,
                                                HasSubstr("--wire grpc")));
  EXPECT_TRUE(session->WaitOver(kLong));
}

TEST(AbciSocketSessionTest, AnAnswerThatWasNotAskedForEndsTheSession) {
  FakeServer server([](Peer& peer, const Request& first) {
    peer.Send(AnswerTo(first));
    peer.Send(AnswerTo(*peer.Read()));  // the Flush
    peer.Send(AnswerTo(first));
    peer.Serve();
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  EXPECT_THAT(app.CheckTx(CheckTx("a")), IsOk());
  EXPECT_TRUE(session->WaitOver(kLong));
}

TEST(AbciSocketSessionTest, AnAnswerBeyondTheLimitEndsTheSession) {
  FakeServer server([](Peer& peer, const Request& first) {
    // 2 GiB less a byte are announced, and never come.
    peer.SendBytes("\xff\xff\xff\xff\x07");
    peer.Serve();
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  EXPECT_THAT(app.CheckTx(CheckTx("a"), {.timeout = kLong}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("announces")));
}

TEST(AbciSocketSessionTest, ACallThatIsNotAnsweredEndsAtItsDeadline) {
  std::promise<void> late;
  std::shared_future<void> is_late(late.get_future());
  FakeServer server([is_late](Peer& peer, const Request& first) {
    is_late.wait();
    ServeWell(peer, first);
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  EXPECT_THAT(app.CheckTx(CheckTx("a"), {.timeout = absl::Milliseconds(30)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  late.set_value();
  // The late answer is not taken for this one's.
  EXPECT_EQ(app.CheckTx(CheckTx("b"))->data(), "b");
}

TEST(AbciSocketSessionTest, TheSoonestDeadlineCountsWhicheverWasFirst) {
  FakeServer server([](Peer& peer, const Request&) {
    while (peer.Read()) {
    }
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  Answers late;
  app.CheckTx(CheckTx("a"), {.timeout = absl::Hours(1)}, late.Next());
  EXPECT_THAT(app.CheckTx(CheckTx("b"), {.timeout = absl::Milliseconds(30)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  session->Close();
  EXPECT_THAT(late.Wait(1)[0], StatusIs(absl::StatusCode::kUnavailable));
}

TEST(AbciSocketSessionTest, ACallMayBeCancelled) {
  FakeServer server([](Peer& peer, const Request&) {
    while (peer.Read()) {
    }
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  rpc::Cancellation cancellation;
  Answers answers;
  app.CheckTx(CheckTx("a"), {.timeout = kLong, .cancellation = cancellation},
              answers.Next());
  cancellation.Cancel();
  EXPECT_THAT(answers.Wait(1)[0], StatusIs(absl::StatusCode::kCancelled));
  app.CheckTx(CheckTx("b"), {.timeout = kLong, .cancellation = cancellation},
              answers.Next());
  EXPECT_THAT(answers.Wait(2)[1], StatusIs(absl::StatusCode::kCancelled));
}

TEST(AbciSocketSessionTest, TheEndOfOneConnectionEndsAllCalls) {
  FakeServer server([](Peer& peer, const Request& first) {
    if (first.has_query()) return;
    while (peer.Read()) {
    }
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  Answers answers;
  app.CheckTx(CheckTx("a"), {.timeout = kLong}, answers.Next());
  EXPECT_FALSE(session->is_over());
  EXPECT_THAT(app.Query(RequestQuery(), {.timeout = kLong}),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(answers.Wait(1)[0], StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(session->WaitOver(kLong));
}

TEST(AbciSocketSessionTest, ByteByByteIsAnsweredAsInOneGo) {
  FakeServer server([](Peer& peer, const Request& first) {
    for (std::optional<Request> request = first; request;
         request = peer.Read()) {
      for (const char byte : Delimited(AnswerTo(*request))) {
        peer.SendBytes({&byte, 1});
      }
    }
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  const std::string large(1000, 'x');
  EXPECT_EQ(app.CheckTx(CheckTx(large), {.timeout = kLong})->data(), large);
}

TEST(AbciSocketSessionTest, SplitAnywhereIsAnsweredAsInOneGo) {
  constexpr int kCalls = 300;
  FakeServer server([](Peer& peer, const Request& first) {
    // Also such pieces as end in the middle of an answer's length.
    std::mt19937 random(1);
    std::string unsent;
    for (std::optional<Request> request = first; request;
         request = peer.Read()) {
      unsent += Delimited(AnswerTo(*request));
      // Nothing comes after the answer to a Flush that is held back.
      std::size_t left = request->has_flush() ? 0 : random() % unsent.size();
      while (unsent.size() > left) {
        const std::string piece = unsent.substr(0, 1 + random() % 100);
        peer.SendBytes(piece);
        unsent.erase(0, piece.size());
      }
    }
  });
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  Answers answers;
  for (int i = 0; i < kCalls; ++i) {
    app.CheckTx(CheckTx(std::string(i, 'x')), {.timeout = kLong},
                answers.Next());
  }
  const auto ends = answers.Wait(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    ASSERT_THAT(ends[i], IsOk());
    EXPECT_EQ(ends[i]->data(), std::string(i, 'x'));
  }
}

TEST(AbciSocketSessionTest, CutAtAnyByteEveryCallEndsAndNothingLeaks) {
  const auto before = test::OpenDescriptors();
  Request request;
  *request.mutable_check_tx() = CheckTx(std::string(300, 'x'));
  const std::string answer = Delimited(CheckTxAnswer(request));
  for (std::size_t cut = 0; cut < answer.size(); ++cut) {
    FakeServer server([&](Peer& peer, const Request&) {
      peer.SendBytes(std::string_view(answer).substr(0, cut));
    });
    const std::unique_ptr<rpc::Session> session = server.Connect();
    ABCIClient app(*session);
    Answers answers;
    for (int i = 0; i < 3; ++i) {
      app.CheckTx(request.check_tx(), {.timeout = kLong}, answers.Next());
    }
    for (const auto& end : answers.Wait(3)) {
      ASSERT_THAT(end, StatusIs(absl::StatusCode::kUnavailable)) << cut;
    }
    ASSERT_TRUE(session->WaitOver(kLong));
  }
  EXPECT_EQ(test::OpenDescriptors(), before);
}

TEST(AbciSocketSessionTest, OtherServicesAndHelloAreNotThere) {
  FakeServer server(ServeWell);
  const std::unique_ptr<rpc::Session> session = server.Connect();
  EXPECT_THAT(session->hello(), StatusIs(absl::StatusCode::kUnimplemented));
}

TEST(AbciSocketSessionTest, ManyThreadsMayCall) {
  FakeServer server(ServeWell);
  const std::unique_ptr<rpc::Session> session = server.Connect();
  ABCIClient app(*session);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&app, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string tx = absl::StrCat(t, "-", i);
        const rpc::CallOptions options = {
            .timeout = i % 10 == 9 ? absl::Microseconds(50) : kLong};
        const auto answer = app.CheckTx(CheckTx(tx), options);
        if (absl::IsDeadlineExceeded(answer.status())) continue;
        ASSERT_THAT(answer, IsOk());
        ASSERT_EQ(answer->data(), tx);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace tandem::node
