#include "rpc/server/first_bytes.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "rpc/wire/grpc/preface.h"
#include "tests/support/judging_wire.h"

namespace tandem::rpc {
namespace {

using test::JudgingWire;

Verdict JudgeFrames(std::string_view seen) {
  return seen[0] == '\0' ? Verdict::kMine : Verdict::kNotMine;
}

// Two letters, the second of which decides.
Verdict JudgeSecond(std::string_view seen) {
  if (seen.size() < 2) return Verdict::kNeedMore;
  return seen[1] == 'Z' ? Verdict::kMine : Verdict::kNotMine;
}

Verdict NeverSure(std::string_view) { return Verdict::kNeedMore; }

class FirstBytesTest : public ::testing::Test {
 protected:
  void ExpectWire(std::string_view seen, const Wire& wire) const {
    const FirstBytes judged = JudgeFirstBytes(seen, wires_);
    EXPECT_EQ(judged.verdict, Verdict::kMine) << seen;
    EXPECT_EQ(judged.wire, &wire) << seen;
  }
  Verdict VerdictOf(std::string_view seen) const {
    return JudgeFirstBytes(seen, wires_).verdict;
  }

  JudgingWire grpc_{JudgePreface};
  JudgingWire frames_{JudgeFrames};
  JudgingWire second_{JudgeSecond};
  std::vector<Wire*> wires_ = {&grpc_, &frames_, &second_};
};

TEST_F(FirstBytesTest, EachWireHasItsOwnWhateverFollows) {
  ExpectWire(kGrpcPreface, grpc_);
  ExpectWire(std::string(kGrpcPreface) + "rubbish", grpc_);
  ExpectWire(std::string_view("\0", 1), frames_);
  ExpectWire(std::string_view("\0\0\1", 3), frames_);
  ExpectWire("AZ", second_);
  ExpectWire("PZ and more than a preface takes", second_);
}

TEST_F(FirstBytesTest, EveryBeginningNeedsMoreUntilItIsSure) {
  EXPECT_EQ(VerdictOf(""), Verdict::kNeedMore);
  for (std::size_t length = 1; length < kGrpcPreface.size(); ++length) {
    EXPECT_EQ(VerdictOf(kGrpcPreface.substr(0, length)), Verdict::kNeedMore)
        << length;
  }
}

TEST_F(FirstBytesTest, OneWrongByteIsNobodysAtOnce) {
  for (std::size_t i = 1; i < kGrpcPreface.size(); ++i) {
    std::string wrong(kGrpcPreface.substr(0, i + 1));
    wrong.back() ^= 0x20;
    EXPECT_EQ(VerdictOf(wrong), Verdict::kNotMine) << i;
    EXPECT_EQ(VerdictOf(wrong.append(kGrpcPreface.substr(i + 1))),
              Verdict::kNotMine)
        << i;
  }
}

TEST_F(FirstBytesTest, OtherProtocolsAreNobodys) {
  for (const std::string_view words : {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01",
                                       "\r\nPRI", "pri", "\x0f\x01"}) {
    EXPECT_EQ(VerdictOf(words), Verdict::kNotMine) << words;
  }
}

TEST_F(FirstBytesTest, AWireThatIsNeverSureKeepsNobodyWaitingForEver) {
  JudgingWire unsure(NeverSure);
  wires_.insert(wires_.begin(), &unsure);
  EXPECT_EQ(VerdictOf(kGrpcPreface.substr(0, 23)), Verdict::kNeedMore);
  ExpectWire(kGrpcPreface, grpc_);
  EXPECT_EQ(VerdictOf("GET / HTTP/1.1\r\n\r\n......"), Verdict::kNotMine);
}

}  // namespace
}  // namespace tandem::rpc
