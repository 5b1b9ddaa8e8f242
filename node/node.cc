#include "node/node.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/util/time_util.h"
#include "node/recovery.h"
#include "rpc/base/status_macros.h"
#include "spdlog/spdlog.h"

namespace tandem::node {
namespace {

using rpc::MutexLock;
using tendermint::abci::ResponseInfo;

// Between two attempts to reach an application that is away: an eighth of the
// time that it has been away, within these.
constexpr absl::Duration kShortestPause = absl::Milliseconds(5);
constexpr absl::Duration kLongestPause = absl::Milliseconds(50);
// For an application that closed the connection for what it refuses: it is
// asked again, and may have been put right meanwhile.
constexpr absl::Duration kRefusalPause = absl::Seconds(1);
constexpr absl::Duration kEmptyBlockInterval = absl::Seconds(1);

// Whether the node ends with this, rather than wait for the application.
bool IsFatal(const absl::Status& end) {
  return absl::IsDataLoss(end) || absl::IsAborted(end);
}

absl::Duration RetryPause(absl::Time away_since) {
  return std::clamp((absl::Now() - away_since) / 8, kShortestPause,
                    kLongestPause);
}

// What is told to those who wait, when the connection ended for `why`.
absl::Status Away(const absl::Status& why) {
  if (IsFatal(why)) {
    return absl::UnavailableError(
        absl::StrCat("the node cannot go on: ", why.message()));
  }
  return absl::UnavailableError(
      absl::StrCat("the application is away: ", why.message(), "; try again"));
}

}  // namespace

Node::Node(Options options, BlockStore& store)
    : options_(std::move(options)),
      store_(store),
      mempool_(std::make_unique<Mempool>(options_.mempool, [this] { Ring(); })),
      no_queries_(absl::UnavailableError("the application is not there yet")) {
  app_status_.set_address(options_.app_address);
  SetAppState(v1::AppStatus::AWAY, "not connected yet");
}

absl::StatusOr<std::unique_ptr<Node>> Node::Create(Options options,
                                                   BlockStore& store,
                                                   const Genesis& genesis,
                                                   const ValidatorKey& key) {
  std::unique_ptr<Node> node(new Node(std::move(options), store));
  TANDEM_ASSIGN_OR_RETURN(node->executor_,
                          Executor::Create(store, *node->mempool_, genesis, key,
                                           node->options_.on_committed));
  return node;
}

void Node::Begin() {
  MutexLock lock(join_mu_);
  engine_ = std::thread([this] { Run(); });
}

Node::~Node() { Stop(absl::ZeroDuration()); }

void Node::Stop(absl::Duration timeout) {
  const absl::Status stops = absl::UnavailableError("the node stops");
  const absl::Time deadline = absl::Now() + timeout;
  mempool_->Drain(stops, timeout);
  std::shared_ptr<AppConnection> to_cut;
  {
    MutexLock lock(mu_);
    is_stopping_ = true;
    mu_.NotifyAll();
    const bool is_done = mu_.AwaitUntil(
        deadline,
        [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return is_done_; });
    if (!is_done) to_cut = connection_;
  }
  if (to_cut != nullptr) to_cut->Close();
  {
    MutexLock lock(join_mu_);
    if (engine_.joinable()) engine_.join();
  }
  mempool_->Clear(stops);
}

v1::AppStatus Node::app_status() const {
  MutexLock lock(mu_);
  v1::AppStatus status = app_status_;
  if (connection_ != nullptr) {
    *status.mutable_calls() = connection_->calls_in_flight().Get();
  }
  return status;
}

void Node::Query(const tendermint::abci::RequestQuery& request,
                 absl::Duration timeout,
                 AppConnection::Done<tendermint::abci::ResponseQuery> done) {
  AppConnection* app = nullptr;
  absl::Status refusal;
  {
    MutexLock lock(mu_);
    app = queried_;
    refusal = no_queries_;
    if (app != nullptr) ++queries_;
  }
  if (app == nullptr) return done(refusal);
  app->Query(request, timeout,
             [this, done = std::move(done)](
                 absl::StatusOr<tendermint::abci::ResponseQuery> answer) {
               done(std::move(answer));
               MutexLock lock(mu_);
               --queries_;
               mu_.NotifyAll();
             });
}

void Node::Run() {
  absl::Time away_since = absl::Now();
  while (!is_stopping()) {
    auto session = options_.dial(kConnectTimeout);
    if (!session.ok()) {
      OnAway(session.status());
      AwaitRing(RetryPause(away_since));
      continue;
    }
    was_in_step_ = false;
    const absl::Status end = Drive(std::make_shared<AppConnection>(
        *std::move(session), options_.recorder));
    if (IsFatal(end)) {
      spdlog::critical("The node cannot go on: {}", std::string(end.message()));
      mempool_->Clear(Away(end));
      if (options_.on_fatal) options_.on_fatal(end);
      break;
    }
    if (!is_stopping()) OnAway(end);
    if (was_in_step_) away_since = absl::Now();
    // A connection that breaks each time is no reason to spin; that it broke
    // has rung.
    ForgetRing();
    AwaitRing(absl::IsFailedPrecondition(end) ? kRefusalPause
                                              : RetryPause(away_since));
  }
  MutexLock lock(mu_);
  is_done_ = true;
  mu_.NotifyAll();
}

absl::Status Node::Drive(std::shared_ptr<AppConnection> connection) {
  AppConnection& app = *connection;
  {
    MutexLock lock(mu_);
    // Stop() has found no connection to cut.
    if (is_stopping_) return absl::UnavailableError("the node stops");
    connection_ = connection;
  }
  std::thread watcher([this, &app] {
    while (!app.WaitOver(absl::Hours(1))) {
    }
    Ring();
  });
  NoteHello(app);
  SetAppState(v1::AppStatus::RECOVERING, "comparing states");
  absl::Status end = Prepare(app);
  if (end.ok()) {
    OpenToQueries(&app);
    end = MakeBlocks(app);
  }
  if (IsFatal(end)) {
    SetAppState(v1::AppStatus::STOPPED, std::string(end.message()));
  } else {
    const bool has_refused = app.is_over() && absl::IsFailedPrecondition(end);
    const bool hangs = !app.is_over() && absl::IsUnavailable(end);
    if (!end.ok() && !app.is_over() && !hangs) Endure(app, end);
    if (!has_refused && (end.ok() || app.is_over())) {
      end = absl::UnavailableError("its connection ended");
    }
  }
  {
    MutexLock lock(mu_);
    connection_ = nullptr;
  }
  app.Close();
  watcher.join();
  CloseToQueries(Away(end));
  mempool_->Detach(Away(end));
  return end;
}

absl::Status Node::Prepare(AppConnection& app) {
  TANDEM_ASSIGN_OR_RETURN(const ResponseInfo info, app.Info());
  {
    MutexLock lock(mu_);
    app_status_.set_data(info.data());
    app_status_.set_version(info.version());
    app_status_.set_app_version(info.app_version());
  }
  return Recover(app, info, store_, *executor_);
}

absl::Status Node::MakeBlocks(AppConnection& app) {
  was_in_step_ = true;
  said_away_.clear();
  mempool_->Attach(&app);
  SetAppState(v1::AppStatus::RUNNING, "");
  spdlog::info("The application is in step, at height {}.",
               executor_->state().height());
  absl::Time last = absl::Now();
  while (!is_stopping() && !app.is_over()) {
    const bool is_due =
        options_.empty_blocks && absl::Now() - last >= kEmptyBlockInterval;
    if (is_due || mempool_->has_ready() || executor_->state().height() == 0) {
      TANDEM_RETURN_IF_ERROR(executor_->MakeNextBlock(app));
      last = absl::Now();
    } else {
      AwaitRing(options_.empty_blocks ? last + kEmptyBlockInterval - absl::Now()
                                      : absl::InfiniteDuration());
    }
  }
  return absl::OkStatus();
}

void Node::Endure(AppConnection& app, const absl::Status& why) {
  const std::string reason(why.message());
  spdlog::error(
      "No more blocks are made until the application is put right and "
      "restarted: {}",
      reason);
  const absl::Status refusal = absl::FailedPreconditionError(
      absl::StrCat("the node makes no more blocks: ", reason));
  {
    MutexLock lock(mu_);
    no_queries_ = refusal;
  }
  mempool_->Detach(refusal);
  mempool_->TellStuck(refusal);
  SetAppState(v1::AppStatus::STOPPED, reason);
  while (!is_stopping() && !app.is_over()) AwaitRing(absl::InfiniteDuration());
}

void Node::OnAway(const absl::Status& why) {
  const std::string reason(why.message());
  mempool_->Detach(Away(why));
  bool was_away;
  {
    MutexLock lock(mu_);
    no_queries_ = Away(why);
    was_away = app_status_.state() == v1::AppStatus::AWAY;
    app_status_.set_reason(reason);
  }
  if (!was_away) SetAppState(v1::AppStatus::AWAY, reason);
  if (reason == said_away_) return;
  said_away_ = reason;
  spdlog::warn("Waiting for the application at {}: {}", options_.app_address,
               reason);
}

void Node::NoteHello(const AppConnection& app) {
  MutexLock lock(mu_);
  app_status_.clear_instance_id();
  app_status_.clear_framework_version();
  app_status_.set_pid(app.server_pid());
  if (!app.hello().ok()) return;
  app_status_.set_instance_id(app.hello()->instance_id());
  app_status_.set_framework_version(app.hello()->framework_version());
}

void Node::SetAppState(v1::AppStatus::State state, std::string reason) {
  MutexLock lock(mu_);
  app_status_.set_state(state);
  app_status_.set_reason(std::move(reason));
  *app_status_.mutable_since() =
      google::protobuf::util::TimeUtil::GetCurrentTime();
}

void Node::OpenToQueries(AppConnection* app) {
  MutexLock lock(mu_);
  queried_ = app;
}

void Node::CloseToQueries(absl::Status why) {
  MutexLock lock(mu_);
  queried_ = nullptr;
  no_queries_ = std::move(why);
  mu_.Await([this]()
                ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return queries_ == 0; });
}

void Node::Ring() {
  MutexLock lock(mu_);
  is_rung_ = true;
  mu_.NotifyAll();
}

void Node::ForgetRing() {
  MutexLock lock(mu_);
  is_rung_ = false;
}

void Node::AwaitRing(absl::Duration timeout) {
  MutexLock lock(mu_);
  mu_.AwaitFor(timeout, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return is_rung_ || is_stopping_;
  });
  is_rung_ = false;
}

bool Node::is_stopping() const {
  MutexLock lock(mu_);
  return is_stopping_;
}

}  // namespace tandem::node
