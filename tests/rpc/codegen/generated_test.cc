// What protoc-gen-tandem writes compiles and works, whatever the names.

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/client/in_process.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/rpc/codegen/absl_named.tandem.h"
#include "tests/rpc/codegen/imported.tandem.h"
#include "tests/rpc/codegen/traps.tandem.h"
#include "tests/rpc/codegen/unpackaged.tandem.h"

namespace {

using ::tandem::rpc::InProcessTransport;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::HasSubstr;
namespace traps = ::tests::codegen::traps;

// Overrides methods with the hardest names.
class Trapped final : public traps::TrapsHandler {
 public:
  absl::StatusOr<traps::class__int> delete__(
      tandem::rpc::Call& call, const traps::class_& request) override {
    traps::class__int reply;
    reply.set_y(request.x());
    return reply;
  }
  absl::StatusOr<traps::class_> delete_(tandem::rpc::Call& call,
                                        const traps::class_& request) override {
    traps::class_ reply;
    reply.set_x(-request.x());
    return reply;
  }
  absl::StatusOr<traps::Table> Table(tandem::rpc::Call& call,
                                     const traps::Table& request) override {
    return request;
  }
  absl::StatusOr<traps::Serve> Serve(tandem::rpc::Call& call,
                                     const traps::Serve& request) override {
    return request;
  }
  absl::StatusOr<traps::Reply> TrapsHandler_(tandem::rpc::Call& call,
                                             const traps::Call&) override {
    return traps::Reply();
  }
  void call(tandem::rpc::Call& call, const traps::call& request,
            tandem::rpc::Reply<traps::done> reply) override {
    reply.Send(traps::done());
  }
  void in(tandem::rpc::Call& call, tandem::rpc::Reader<traps::in> in,
          tandem::rpc::Reply<traps::out> reply) override {
    traps::in message;
    while (in.Read(&message)) {
    }
    reply.Send(traps::out());
  }
  absl::StatusOr<traps::Rich> Rich(
      tandem::rpc::Call& call, const traps::Outer_Inner& request) override {
    traps::Rich rich;
    rich.set_maybe(0);
    (*rich.mutable_counts())["a"] = 1;
    (*rich.mutable_children())[7].set_text("child");
    rich.set_colour(traps::COLOUR_RED);
    return rich;
  }
};

class GeneratedTest : public ::testing::Test {
 protected:
  Trapped handler_;
  InProcessTransport transport_{{Serve(handler_)}, {}};
  traps::TrapsClient client_{transport_};
};

TEST_F(GeneratedTest, MethodsNamedAsKeywordsGetUnderscores) {
  traps::class_ request;
  request.set_x(3);
  auto first = client_.delete__(request);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->y(), 3);
  auto second = client_.delete_(request);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->x(), -3);
}

TEST_F(GeneratedTest, OnTheWireMethodsKeepTheirNames) {
  const auto methods = traps::TrapsHandler::Table().methods;
  EXPECT_EQ(methods[0].name, "delete");
  EXPECT_STREQ(methods[0].path, "/tests.codegen.traps.Traps/delete");
  for (std::size_t i = 0; i < methods.size(); ++i) {
    EXPECT_EQ(methods[i].index, static_cast<int>(i));
    EXPECT_EQ(methods[i].service, "tests.codegen.traps.Traps");
  }
}

TEST_F(GeneratedTest, MethodsNamedAsOurHelpersWork) {
  EXPECT_THAT(client_.Table(traps::Table()), IsOk());
  EXPECT_THAT(client_.Serve(traps::Serve()), IsOk());
  EXPECT_THAT(client_.TrapsHandler_(traps::Call()), IsOk());
  EXPECT_THAT(client_.call(traps::call()), IsOk());
  EXPECT_THAT(client_.in().Finish(), IsOk());
}

TEST_F(GeneratedTest, RichMessagesTravel) {
  auto rich = client_.Rich(traps::Outer_Inner());
  ASSERT_THAT(rich, IsOk());
  EXPECT_TRUE(rich->has_maybe());
  EXPECT_EQ(rich->counts().at("a"), 1);
  EXPECT_EQ(rich->children().at(7).text(), "child");
  EXPECT_EQ(rich->colour(), traps::COLOUR_RED);
}

TEST_F(GeneratedTest, OptionsReachTheTable) {
  for (const auto& method : traps::TrapsHandler::Table().methods) {
    EXPECT_EQ(method.run == tandem::rpc::Run::kInline, method.name == "Done")
        << method.name;
    EXPECT_EQ(method.unary == nullptr,
              method.shape != tandem::rpc::Shape::kUnary);
    EXPECT_NE(method.unary == nullptr, method.stream == nullptr);
  }
}

TEST_F(GeneratedTest, ServiceWithoutMethodsHasAnEmptyTable) {
  EXPECT_TRUE(traps::EmptyHandler::Table().methods.empty());
  EXPECT_EQ(traps::EmptyHandler::Table().fingerprint.size(), 64u);
}

TEST_F(GeneratedTest, DoneOfAnyMovableTypeIsTaken) {
  auto only_movable = std::make_unique<int>(0);
  std::atomic<bool> is_done{false};
  client_.Table(traps::Table(), {},
                [kept = std::move(only_movable),
                 &is_done](absl::StatusOr<traps::Table> reply) {
                  is_done = reply.ok() && kept != nullptr;
                });
  while (!is_done) std::this_thread::yield();
}

class Doubler final : public UnpackagedHandler {
  absl::StatusOr<UnpackagedRequest> Double(
      tandem::rpc::Call& call, const UnpackagedRequest& request) override {
    UnpackagedRequest reply;
    reply.set_number(2 * request.number());
    return reply;
  }
};

TEST(GeneratedWithoutPackageTest, Works) {
  Doubler doubler;
  InProcessTransport transport({Serve(doubler)}, {});
  UnpackagedRequest request;
  request.set_number(21);
  auto reply = UnpackagedClient(transport).Double(request);
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->number(), 42);
  EXPECT_STREQ(UnpackagedHandler::Table().methods[0].path,
               "/Unpackaged/Double");
}

TEST(GeneratedInHidingPackageTest, Works) {
  tests::absl::tandem::google::rpc::HidingHandler handler;
  InProcessTransport transport({Serve(handler)}, {.workers = 0});
  tests::absl::tandem::google::rpc::HidingClient client(transport);
  EXPECT_THAT(client.Unary({}), StatusIs(::absl::StatusCode::kUnimplemented));
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(file.good()) << path;
  return text.str();
}

// Runs the plugin as a build does.
class PluginTest : public ::testing::Test {
 protected:
  // Generates from `proto` in `folder`; returns what protoc said.
  std::string Run(const std::string& folder, const std::string& proto,
                  const std::string& parameter = "") {
    const std::string log = dir_.path() + "/log";
    const std::string command =
        TESTS_PROTOC " --plugin=protoc-gen-tandem=" TESTS_PLUGIN
                     " --tandem_out=" +
        parameter + dir_.path() + " -I" + folder +
        " -I" TESTS_SOURCE_DIR "/proto " + proto + " >" + log + " 2>&1";
    is_ok_ = std::system(command.c_str()) == 0;
    return ReadFile(log);
  }

  // The same for a file of this text.
  std::string RunOn(const std::string& text) {
    std::ofstream(dir_.path() + "/x.proto") << "syntax = \"proto3\";\n" << text;
    return Run(dir_.path(), "x.proto");
  }

  tandem::rpc::testing::TempDir dir_;
  bool is_ok_ = false;
};

TEST_F(PluginTest, SmallServiceReadsAsInTheGoldenFiles) {
  const std::string golden = TESTS_SOURCE_DIR "/tests/rpc/codegen/golden";
  EXPECT_EQ(Run(golden, "store.proto"), "");
  for (const char* name : {"/store.tandem.h", "/store.tandem.cc"}) {
    EXPECT_EQ(ReadFile(dir_.path() + name), ReadFile(golden + name + ".golden"))
        << "If the change is meant: cp the new file over the golden one.";
  }
}

TEST_F(PluginTest, FileWithoutServicesGivesBothFiles) {
  EXPECT_EQ(RunOn("message M {}"), "");
  EXPECT_THAT(ReadFile(dir_.path() + "/x.tandem.h"), HasSubstr("x.pb.h"));
  EXPECT_THAT(ReadFile(dir_.path() + "/x.tandem.cc"), HasSubstr("x.tandem.h"));
}

TEST_F(PluginTest, CommentsAreCarriedOver) {
  EXPECT_EQ(RunOn("message M {}\n"
                  "// About the service.\n"
                  "service S {\n"
                  "  // Ends in a backslash: \\\n"
                  "  //\n"
                  "  // Second paragraph.\n"
                  "  rpc A(M) returns (M);\n"
                  "}\n"),
            "");
  const std::string header = ReadFile(dir_.path() + "/x.tandem.h");
  EXPECT_THAT(header, HasSubstr("// About the service.\n//\n"));
  EXPECT_THAT(header, HasSubstr("  // Ends in a backslash: \\ //\n  //\n"
                                "  // Second paragraph.\n  virtual"));
}

TEST_F(PluginTest, KeywordAsPackageIsAnError) {
  EXPECT_THAT(RunOn("package a.new.b; message M {}"),
              HasSubstr("'new' is a C++ keyword"));
  EXPECT_FALSE(is_ok_);
}

TEST_F(PluginTest, MessageNamedAsAGeneratedClassIsAnError) {
  EXPECT_THAT(RunOn("package a; message SHandler {} message M {}\n"
                    "service S { rpc A(M) returns (M); }"),
              HasSubstr("a.SHandler is a message or an enum"));
  EXPECT_FALSE(is_ok_);
}

TEST_F(PluginTest, LaterOnAStreamIsAnError) {
  EXPECT_THAT(RunOn("import \"tandem/rpc/v1/options.proto\"; message M {}\n"
                    "service S { rpc A(M) returns (stream M) {\n"
                    "  option (tandem.rpc.v1.method) = { later: true }; } }"),
              HasSubstr("S/A streams"));
  EXPECT_FALSE(is_ok_);
}

TEST_F(PluginTest, UnknownParameterIsAnError) {
  EXPECT_THAT(Run(TESTS_SOURCE_DIR "/tests/rpc/codegen/golden", "store.proto",
                  "fast:"),
              HasSubstr("unknown parameter 'fast'"));
  EXPECT_FALSE(is_ok_);
}

}  // namespace
