#include "tests/node/world.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "node/recovery.h"
#include "rpc/base/file.h"
#include "rpc/base/status_macros.h"
#include "rpc/testing/status_matchers.h"
#include "tests/node/app_session.h"
#include "tests/node/golden.h"
#include "tests/support/wire.h"

namespace tandem::node {

using rpc::testing::IsOk;

constexpr absl::Duration kGenerous = absl::Seconds(20);

bool Outcomes::OnChecked(int place,
                         const tendermint::abci::ResponseCheckTx& answer) {
  rpc::MutexLock lock(mu_);
  ++checked_;
  Note(absl::StrCat(place, " checked ", answer.code()));
  return true;
}

void Outcomes::OnCommitted(int place, const v1::TxResult& result) {
  rpc::MutexLock lock(mu_);
  Note(absl::StrCat(place, " committed ", result.height()));
}

void Outcomes::OnRefused(int place, const absl::Status& why) {
  rpc::MutexLock lock(mu_);
  ++checked_;
  refusals_[place] = why;
  Note(absl::StrCat(place, " ", absl::StatusCodeToString(why.code())));
}

void Outcomes::Note(std::string what) {
  all_.push_back(std::move(what));
  mu_.NotifyAll();
}

bool Outcomes::AwaitChecked(std::size_t count) {
  rpc::MutexLock lock(mu_);
  return mu_.AwaitFor(kGenerous, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return checked_ >= count;
  });
}

std::vector<std::string> Outcomes::All() const {
  rpc::MutexLock lock(mu_);
  return all_;
}

absl::Status Outcomes::Refusal(int place) const {
  rpc::MutexLock lock(mu_);
  const auto found = refusals_.find(place);
  return found == refusals_.end() ? absl::OkStatus() : found->second;
}

World::World() {
  const std::string path = dir.File("key.json");
  EXPECT_THAT(rpc::WriteFile(path, kKeyFileOne, 0600), IsOk());
  key = ValidatorKey::Load(path);
  auto parsed = ParseGenesis(kGenesisFile);
  EXPECT_THAT(parsed, IsOk());
  genesis = *std::move(parsed);
  genesis.initial_height = 1;
  // Its threads begin calls in any order, and tests name one.
  if (test::WireOr("") == "grpc") limits.checks_in_flight = 1;
}

World::~World() {
  if (connection != nullptr) connection->Close();
  if (mempool != nullptr) mempool->Clear(absl::UnavailableError("test ends"));
}

void World::Open() {
  if (connection != nullptr) connection->Close();
  if (mempool != nullptr) mempool->Clear(absl::UnavailableError("restart"));
  connection.reset();
  executor.reset();
  mempool.reset();
  store.reset();
  auto opened = BlockStore::Open(dir.File("blocks"));
  ASSERT_THAT(opened, IsOk());
  store = *std::move(opened);
  mempool = std::make_unique<Mempool>(limits, [] {});
  auto made =
      Executor::Create(*store, *mempool, genesis, *key,
                       [this](std::shared_ptr<const v1::CommittedBlock> block) {
                         published.push_back(std::move(block));
                       });
  ASSERT_THAT(made, IsOk());
  executor = *std::move(made);
}

void World::Connect() {
  if (connection != nullptr) connection->Close();
  mempool->Detach(absl::UnavailableError("reconnecting"));
  connection =
      std::make_unique<AppConnection>(OpenAppSession(app, /*workers=*/1));
}

absl::Status World::Recover() {
  TANDEM_ASSIGN_OR_RETURN(auto info, connection->Info());
  TANDEM_RETURN_IF_ERROR(node::Recover(*connection, info, *store, *executor));
  mempool->Attach(connection.get());
  return absl::OkStatus();
}

void World::StartChain() {
  Open();
  Connect();
  ASSERT_THAT(Recover(), IsOk());
  ASSERT_THAT(MakeBlock(), IsOk());
}

std::shared_ptr<Outcomes> World::Submit(const std::vector<std::string>& txs) {
  auto outcomes = std::make_shared<Outcomes>();
  mempool->Submit({txs.begin(), txs.end()}, outcomes);
  EXPECT_TRUE(outcomes->AwaitChecked(txs.size()));
  return outcomes;
}

void World::Commit(const std::vector<std::string>& txs) {
  Submit(txs);
  ASSERT_THAT(MakeBlock(), IsOk());
}

}  // namespace tandem::node
