// What the two programs do when what they write to fails, or what they wrote is
// damaged.

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/pair/pair.h"
#include "tests/support/child.h"
#include "tests/support/wire.h"

// gcc has a macro for it, clang a feature.
#if defined(__SANITIZE_ADDRESS__)
#define TANDEM_HAS_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TANDEM_HAS_ASAN
#endif
#endif

namespace tandem {
namespace {

namespace fs = std::filesystem;
using node::v1::AppStatus;
using rpc::testing::IsOk;
using rpc::testing::IsOkAndHolds;
using rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr char kNeedsMounts[] =
    "NOT TESTED: needs a mount namespace of its own; run the tests as root";

// Gives this process (without threads) mounts of its own.
bool EnterMountNamespace() {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

// What a program that ran to its end said.
struct Said {
  int status = -1;
  std::string words;
};

Said RunToEnd(std::vector<std::string> command) {
  const rpc::testing::TempDir dir;
  const auto process = rpc::testing::Process::Start(
      {.command = std::move(command), .log_path = dir.File("log")});
  EXPECT_THAT(process, IsOk());
  if (!process.ok()) return {};
  const auto status = (*process)->Wait(kLong);
  EXPECT_THAT(status, IsOk());
  return {status.value_or(-1), rpc::ReadFile(dir.File("log")).value_or("")};
}

class StorageFaultsTest : public ::testing::Test {
 protected:
  StorageFaultsTest() {
    fs::create_directory_symlink(app_data(), dir_.File("app"));
    fs::create_directory_symlink(node_data(), dir_.File("node"));
  }

  std::string app_data() { return pair_.app().directory() + "/app"; }
  std::string node_data() { return pair_.node().directory() + "/node"; }

  Said Doctor() {
    return RunToEnd(
        {TANDEM_BIN_DIR "/tandem", "doctor", "--data", dir_.path()});
  }

  // Starts a node that must not go on.
  Said RefusedNode() {
    return RunToEnd({TANDEM_BIN_DIR "/tandem-node", "--app",
                     pair_.app().address(), "--wire", test::WireOr("socket"),
                     "--listen", dir_.Address("n.sock"), "--data",
                     node_data()});
  }

  // Submits one transaction and notes what was said of it.
  absl::Status Submit(const std::string& key, std::size_t bytes = 1) {
    const std::string tx = absl::StrCat(key, "=", std::string(bytes, 'v'));
    const auto height = pair_.Commit(tx);
    if (height.ok()) {
      acknowledged_[key] = *height;
    } else if (!absl::IsUnknown(height.status()) &&
               !absl::IsUnavailable(height.status())) {
      refused_.push_back(key);
    }
    return height.status();
  }

  // Submits until it is not taken; says why.
  absl::Status SubmitUntilRefused(std::size_t bytes) {
    for (int i = 0; i < 10'000; ++i) {
      const absl::Status status = Submit(absl::StrCat("more", i), bytes);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // All that was acknowledged is there, nothing that was refused is, the chain
  // goes on, and the doctor has nothing to say.
  void ExpectAllIsWell() {
    ASSERT_THAT(pair_.Await(AppStatus::RUNNING), IsOk());
    ASSERT_FALSE(acknowledged_.empty());
    for (const auto& [key, height] : acknowledged_) {
      const auto value = pair_.Get(key);
      ASSERT_THAT(value, IsOk());
      EXPECT_NE(*value, "") << key;
      node::v1::GetBlockRequest request;
      request.set_height(height);
      const auto block = pair_.client().GetBlock(request);
      ASSERT_THAT(block, IsOk());
      EXPECT_THAT(block->block().txs(),
                  ::testing::Contains(::testing::StartsWith(key + "=")));
    }
    for (const std::string& key : refused_) {
      EXPECT_THAT(pair_.Get(key), IsOkAndHolds("")) << key;
    }
    EXPECT_THAT(pair_.Commit("last=1"), IsOk());
    pair_.node().Kill();
    pair_.app().Kill();
    const Said said = Doctor();
    EXPECT_EQ(said.status, 0) << said.words;
  }

  Pair pair_;
  rpc::testing::TempDir dir_;  // as that of `tandem up`
  std::map<std::string, std::int64_t> acknowledged_;
  std::vector<std::string> refused_;
};

// A small disk of one of the two, in memory.
class SmallDisk {
 public:
  explicit SmallDisk(std::string path) : path_(std::move(path)) {
    is_there_ =
        ::mount("none", path_.c_str(), "tmpfs", 0, "size=8m,mode=0700") == 0;
  }
  ~SmallDisk() {
    if (is_there_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool is_there() const { return is_there_; }
  // Leaves no byte of it.
  void Fill() const {
    const int fd = ::open((path_ + "/filler").c_str(),
                          O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const std::vector<char> zeros(4096);
    while (::write(fd, zeros.data(), zeros.size()) > 0) {
    }
    ::close(fd);
  }
  bool Enlarge() const {
    return fs::remove(path_ + "/filler") &&
           ::mount("none", path_.c_str(), nullptr, MS_REMOUNT,
                   "size=64m,mode=0700") == 0;
  }

 private:
  const std::string path_;
  bool is_there_ = false;
};

TEST_F(StorageFaultsTest, ANodeWhoseDiskIsFullEndsBeforeItAcknowledges) {
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  if (!EnterMountNamespace()) GTEST_SKIP() << kNeedsMounts;
  const SmallDisk disk(pair_.node().directory());
  ASSERT_TRUE(disk.is_there());
  ASSERT_THAT(pair_.Start(), IsOk());
  ASSERT_THAT(Submit("first"), IsOk());
  disk.Fill();
  EXPECT_FALSE(SubmitUntilRefused(50'000).ok());
  EXPECT_THAT(pair_.node().WaitExit(), IsOkAndHolds(1));
  EXPECT_THAT(pair_.node().Log(),
              AllOf(HasSubstr("No space left on device"),
                    HasSubstr(node_data()), HasSubstr("make room")));
  EXPECT_TRUE(pair_.app().is_running());
  ASSERT_TRUE(disk.Enlarge());
  ASSERT_THAT(pair_.node().Start(), IsOk());
  ExpectAllIsWell();
}

TEST_F(StorageFaultsTest, AnAppWhoseDiskIsFullRefusesToCommit) {
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  if (!EnterMountNamespace()) GTEST_SKIP() << kNeedsMounts;
  const SmallDisk disk(pair_.app().directory());
  ASSERT_TRUE(disk.is_there());
  ASSERT_THAT(pair_.Start(), IsOk());
  ASSERT_THAT(Submit("first"), IsOk());
  disk.Fill();
  EXPECT_FALSE(SubmitUntilRefused(50'000).ok());
  ASSERT_THAT(pair_.Await(AppStatus::STOPPED), IsOk());
  EXPECT_THAT(pair_.Status()->app().reason(),
              AllOf(HasSubstr("No space left on device"), HasSubstr(app_data()),
                    HasSubstr("make room"), HasSubstr("restart")));
  EXPECT_THAT(Submit("late"), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("No space left on device")));
  ASSERT_TRUE(disk.Enlarge());
  ASSERT_THAT(pair_.app().Restart(), IsOk());
  ExpectAllIsWell();
}

TEST_F(StorageFaultsTest, AReadOnlyDirectoryIsRefusedAndCanBeExamined) {
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  if (!EnterMountNamespace()) GTEST_SKIP() << kNeedsMounts;
  ASSERT_THAT(pair_.Start(), IsOk());
  ASSERT_THAT(Submit("first"), IsOk());
  pair_.node().Kill();
  pair_.app().Kill();
  const auto set_read_only = [](const std::string& path) {
    return ::mount(path.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) ==
               0 &&
           ::mount("none", path.c_str(), nullptr,
                   MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) == 0;
  };
  ASSERT_TRUE(set_read_only(node_data()));
  ASSERT_TRUE(set_read_only(app_data()));
  const Said node = RefusedNode();
  EXPECT_EQ(node.status, 1);
  EXPECT_THAT(
      node.words,
      AllOf(HasSubstr("cannot write to the data directory " + node_data()),
            HasSubstr("Read-only file system")));
  EXPECT_THAT(pair_.app().Start(), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(
      pair_.app().Log(),
      AllOf(HasSubstr("cannot write to the data directory " + app_data()),
            HasSubstr("Read-only file system")));
  const Said doctor = Doctor();
  EXPECT_EQ(doctor.status, 0) << doctor.words;
  ASSERT_EQ(::umount(node_data().c_str()), 0);
  ASSERT_EQ(::umount(app_data().c_str()), 0);
  ASSERT_THAT(pair_.Start(), IsOk());
  ExpectAllIsWell();
}

TEST_F(StorageFaultsTest, ASecondProcessIsKeptFromTheData) {
  ASSERT_THAT(pair_.Start(), IsOk());
  ASSERT_THAT(Submit("first"), IsOk());
  const Said node = RefusedNode();
  EXPECT_EQ(node.status, 1);
  EXPECT_THAT(node.words,
              AllOf(HasSubstr(node_data()), HasSubstr("in use by another")));
  const Said app = RunToEnd({TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                             dir_.Address("a.sock"), "--data", app_data()});
  EXPECT_EQ(app.status, 1);
  EXPECT_THAT(app.words,
              AllOf(HasSubstr(app_data()), HasSubstr("in use by another")));
  const Said doctor = Doctor();
  EXPECT_EQ(doctor.status, 1);
  EXPECT_THAT(doctor.words, AllOf(HasSubstr("stop that tandem-kvstore first"),
                                  HasSubstr("stop that tandem-node first")));
  ExpectAllIsWell();
}

// A call of one of the programs that begins to fail.
struct Fault {
  const char* program;
  const char* call;
};

class FailingDiskTest : public StorageFaultsTest,
                        public ::testing::WithParamInterface<Fault> {
 protected:
  absl::Status StartOn(rpc::testing::ProcessPair& program) {
    const absl::Status launched =
        program.Launch({"LD_PRELOAD=" TANDEM_FAILING_DISK,
                        "FAILING_DISK_DIRECTORY=" + program.directory(),
                        "FAILING_DISK_TRIGGER=" + dir_.File("trigger")});
    return launched.ok() ? program.WaitReady() : launched;
  }
};

TEST_P(FailingDiskTest, NothingIsAcknowledgedThatCannotBeKept) {
#if defined(TANDEM_HAS_ASAN)
  GTEST_SKIP() << "NOT TESTED: AddressSanitizer does not go with LD_PRELOAD";
#endif
  const bool is_node = GetParam().program == std::string("node");
  rpc::testing::ProcessPair& victim = is_node ? pair_.node() : pair_.app();
  ASSERT_THAT(is_node ? pair_.app().Start() : StartOn(pair_.app()), IsOk());
  ASSERT_THAT(is_node ? StartOn(pair_.node()) : pair_.node().Start(), IsOk());
  ASSERT_THAT(pair_.Await(AppStatus::RUNNING), IsOk());
  ASSERT_THAT(Submit("first"), IsOk());
  ASSERT_THAT(Submit("second"), IsOk());
  std::ofstream(dir_.File("trigger")) << GetParam().call;
  EXPECT_FALSE(Submit("third").ok());
  const std::string data = is_node ? node_data() : app_data();
  const auto says_why = AllOf(HasSubstr("Input/output error"), HasSubstr(data),
                              HasSubstr("mend the disk"));
  if (is_node) {
    EXPECT_THAT(victim.WaitExit(), IsOkAndHolds(1));
    EXPECT_THAT(victim.Log(), says_why);
  } else {
    ASSERT_THAT(pair_.Await(AppStatus::STOPPED), IsOk());
    EXPECT_THAT(pair_.Status()->app().reason(),
                AllOf(says_why, HasSubstr("restart")));
    // The disk is well again, but nobody knows what it has.
    fs::remove(dir_.File("trigger"));
    EXPECT_FALSE(Submit("fourth").ok());
  }
  fs::remove(dir_.File("trigger"));
  victim.Kill();
  ASSERT_THAT(victim.Start(), IsOk());
  ExpectAllIsWell();
}

INSTANTIATE_TEST_SUITE_P(
    , FailingDiskTest,
    ::testing::Values(Fault{"node", "write"}, Fault{"node", "sync"},
                      Fault{"app", "write"}, Fault{"app", "sync"}),
    [](const auto& test) {
      return absl::StrCat(test.param.program, test.param.call);
    });

// Damage to files of programs that do not run.
class DamageTest : public StorageFaultsTest {
 protected:
  // A pair with blocks in tables and in the log, which does not run any more.
  void MakeChain() {
    ASSERT_THAT(pair_.Start(), IsOk());
    for (int i = 0; i < 5; ++i) ASSERT_THAT(Submit(NextKey(), 500), IsOk());
    // A database that is opened writes its log to a table.
    ASSERT_THAT(pair_.node().Restart(), IsOk());
    ASSERT_THAT(pair_.app().Restart(), IsOk());
    ASSERT_THAT(pair_.Await(AppStatus::RUNNING), IsOk());
    for (int i = 0; i < 5; ++i) ASSERT_THAT(Submit(NextKey(), 500), IsOk());
    const auto status = pair_.Status();
    ASSERT_THAT(status, IsOk());
    for (std::int64_t height = 1; height <= status->height(); ++height) {
      const auto block = Block(height);
      ASSERT_THAT(block, IsOk());
      blocks_.push_back(block->SerializeAsString());
    }
    pair_.node().Kill();
    pair_.app().Kill();
    fs::copy(node_data(), dir_.File("good-node"), fs::copy_options::recursive);
    fs::copy(app_data(), dir_.File("good-app"), fs::copy_options::recursive);
  }

  void Restore() {
    pair_.node().Kill();
    pair_.app().Kill();
    for (const auto& [good, data] :
         {std::pair{dir_.File("good-node"), node_data()},
          std::pair{dir_.File("good-app"), app_data()}}) {
      fs::remove_all(data);
      fs::copy(good, data, fs::copy_options::recursive);
    }
  }

  std::string NextKey() { return absl::StrCat("key", ++keys_); }

  absl::StatusOr<node::v1::CommittedBlock> Block(std::int64_t height) {
    node::v1::GetBlockRequest request;
    request.set_height(height);
    return pair_.client().GetBlock(request);
  }

  // What can be damaged, as FileIn() takes it: all that the node keeps, and
  // `parts` of the application's database.
  std::vector<std::pair<std::string, std::string>> FilesWith(
      const std::vector<std::string>& parts) {
    const std::string node = node_data();
    std::vector<std::pair<std::string, std::string>> files = {
        {node + "/blocks", ".log"},     {node + "/blocks", ".sst"},
        {node + "/blocks", "MANIFEST"}, {node + "/blocks", "CURRENT"},
        {node, "genesis.json"},         {node, "priv_validator_key.json"},
        {node, "tandem-node.json"}};
    for (const std::string& part : parts) {
      files.emplace_back(app_data() + "/state", part);
    }
    return files;
  }

  // The largest file in `directory` whose name contains `part`.
  static std::string FileIn(const std::string& directory,
                            const std::string& part) {
    std::string found;
    std::uintmax_t size = 0;
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.path().filename().string().find(part) == std::string::npos ||
          entry.file_size() < size) {
        continue;
      }
      found = entry.path();
      size = entry.file_size();
    }
    EXPECT_NE(found, "") << "no file like " << part << " in " << directory;
    return found;
  }

  static void FlipBit(const std::string& path, double where) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto at = static_cast<std::streamoff>(
        where * static_cast<double>(fs::file_size(path)));
    file.seekg(at);
    const char byte = static_cast<char>(file.get() ^ 4);
    file.seekp(at);
    file.put(byte);
    ASSERT_TRUE(file.good());
  }

  // The pair starts, or a program says why not. What it then answers is right,
  // and it makes no more blocks unless all that was acknowledged is there.
  void ExpectNothingWrongIsServed(const std::string& what) {
    SCOPED_TRACE(what);
    const absl::Status app = pair_.app().Start();
    if (!app.ok()) {
      EXPECT_THAT(app, StatusIs(absl::StatusCode::kAborted));
      return;
    }
    const absl::Status node = pair_.node().Start();
    if (!node.ok()) {
      EXPECT_THAT(node, StatusIs(absl::StatusCode::kAborted));
      return;
    }
    const absl::Time limit = absl::Now() + kLong;
    while (true) {
      const auto status = pair_.Status();
      if (!status.ok()) {
        // Of the store, or because the application is ahead of what is left.
        EXPECT_THAT(pair_.node().WaitExit(), IsOkAndHolds(AnyOf(1, 3)));
        return;
      }
      const auto state = status->app().state();
      if (state == AppStatus::STOPPED) break;
      if (state == AppStatus::RUNNING) {
        for (const auto& [key, height] : acknowledged_) {
          const auto value = pair_.Get(key);
          if (value.ok()) {
            EXPECT_EQ(*value, std::string(500, 'v')) << key;
          }
        }
        break;
      }
      ASSERT_LT(absl::Now(), limit);
      absl::SleepFor(absl::Milliseconds(5));
    }
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const auto block = Block(static_cast<std::int64_t>(i + 1));
      if (block.ok()) {
        EXPECT_EQ(block->SerializeAsString(), blocks_[i]);
      }
    }
  }

  int keys_ = 0;
  std::vector<std::string> blocks_;
};

TEST_F(DamageTest, AFlippedBitIsFoundAndNeverServed) {
  ASSERT_NO_FATAL_FAILURE(MakeChain());
  ASSERT_EQ(Doctor().status, 0) << Doctor().words;
  for (const auto& [directory, part] :
       FilesWith({".log", ".sst", "MANIFEST", "CURRENT"})) {
    const std::string path = FileIn(directory, part);
    SCOPED_TRACE(path);
    FlipBit(path, 0.4);
    const Said said = Doctor();
    EXPECT_EQ(said.status, 1) << said.words;
    EXPECT_THAT(said.words, HasSubstr("problem: "));
    ExpectNothingWrongIsServed(said.words);
    Restore();
  }
  ASSERT_THAT(pair_.Start(), IsOk());
  ExpectAllIsWell();
}

TEST_F(DamageTest, TheDoctorSaysOnceWhatIsDamaged) {
  ASSERT_NO_FATAL_FAILURE(MakeChain());
  for (const double where : {0.2, 0.4, 0.6}) {
    FlipBit(FileIn(node_data() + "/blocks", ".sst"), where);
    const Said said = Doctor();
    EXPECT_EQ(said.status, 1) << said.words;
    const std::vector<std::string> parts =
        absl::StrSplit(said.words, "Corruption: ");
    EXPECT_EQ(parts.size(), 2u) << said.words;
    Restore();
  }
}

TEST_F(DamageTest, ATruncatedOrMissingFileIsFoundAndNeverServed) {
  ASSERT_NO_FATAL_FAILURE(MakeChain());
  for (const auto& [directory, part] :
       FilesWith({".sst", "MANIFEST", "CURRENT"})) {
    for (const bool is_missing : {false, true}) {
      // A node makes a new key: then it is no validator, and makes no blocks.
      if (is_missing && part == "priv_validator_key.json") continue;
      const std::string path = FileIn(directory, part);
      SCOPED_TRACE(absl::StrCat(path, is_missing ? " is missing" : " is cut"));
      if (is_missing) {
        fs::remove(path);
      } else {
        fs::resize_file(path, fs::file_size(path) / 2);
      }
      const Said said = Doctor();
      EXPECT_EQ(said.status, 1) << said.words;
      ExpectNothingWrongIsServed(said.words);
      Restore();
    }
  }
  ASSERT_THAT(pair_.Start(), IsOk());
  ExpectAllIsWell();
}

// The application is behind then, which is no fault: it is given the blocks.
TEST_F(DamageTest, AnAppWhoseLogIsCutIsGivenTheBlocksAgain) {
  ASSERT_NO_FATAL_FAILURE(MakeChain());
  const std::string path = FileIn(app_data() + "/state", ".log");
  fs::resize_file(path, fs::file_size(path) / 2);
  pair_.AllowOlderState();
  EXPECT_EQ(Doctor().status, 0) << Doctor().words;
  ASSERT_THAT(pair_.Start(), IsOk());
  ExpectAllIsWell();
}

TEST_F(DamageTest, TheDoctorChangesNothing) {
  ASSERT_NO_FATAL_FAILURE(MakeChain());
  const auto list = [this] {
    std::map<std::string, std::string> files;
    for (const std::string& data : {node_data(), app_data()}) {
      for (const auto& entry : fs::recursive_directory_iterator(data)) {
        std::string& file = files[entry.path()];
        file = absl::StrCat(entry.last_write_time().time_since_epoch().count(),
                            " ");
        if (entry.is_regular_file()) {
          file += rpc::ReadFile(entry.path()).value_or("?");
        }
      }
    }
    return files;
  };
  const auto before = list();
  const Said said = Doctor();
  EXPECT_EQ(said.status, 0) << said.words;
  EXPECT_EQ(list(), before);
}

TEST_F(DamageTest, TheDoctorSaysThatTheAppIsAnotherChains) {
  ASSERT_NO_FATAL_FAILURE(MakeChain());
  fs::remove_all(node_data());
  ASSERT_THAT(pair_.node().Start(), IsOk());
  pair_.node().Kill();
  const Said said = Doctor();
  EXPECT_EQ(said.status, 1);
  EXPECT_THAT(said.words, HasSubstr("this node has no blocks yet"));
}

TEST_F(DamageTest, TheDoctorSpeaksJson) {
  ASSERT_NO_FATAL_FAILURE(MakeChain());
  const Said said = RunToEnd(
      {TANDEM_BIN_DIR "/tandem", "doctor", "--json", "--data", dir_.path()});
  EXPECT_EQ(said.status, 0) << said.words;
  const std::size_t line = said.words.find('\n');
  const auto app = nlohmann::json::parse(said.words.substr(0, line));
  const auto node = nlohmann::json::parse(said.words.substr(line));
  EXPECT_EQ(app["height"], blocks_.size());
  EXPECT_EQ(node["height"], blocks_.size());
  EXPECT_EQ(node["app_hash"], app["app_hash"]);
  EXPECT_EQ(node["first_block"], 1);
  EXPECT_EQ(node["transactions"], 10);
  EXPECT_EQ(app["keys"], 10);
}

}  // namespace
}  // namespace tandem
