#include "rpc/server/first_bytes.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

TEST(FirstBytesTest, ThePrefaceIsGrpcWhateverFollows) {
  EXPECT_EQ(JudgeFirstBytes(kPreface), FirstBytes::kGrpc);
  EXPECT_EQ(JudgeFirstBytes(std::string(kPreface) + "rubbish"),
            FirstBytes::kGrpc);
}

TEST(FirstBytesTest, EveryBeginningOfThePrefaceNeedsMore) {
  for (std::size_t length = 0; length < kPreface.size(); ++length) {
    EXPECT_EQ(JudgeFirstBytes(kPreface.substr(0, length)),
              FirstBytes::kNeedMore)
        << length;
  }
}

TEST(FirstBytesTest, OneWrongByteIsUnknownAtOnce) {
  for (std::size_t i = 0; i < kPreface.size(); ++i) {
    std::string wrong(kPreface.substr(0, i + 1));
    wrong.back() ^= 0x20;
    EXPECT_EQ(JudgeFirstBytes(wrong), FirstBytes::kUnknown) << i;
    EXPECT_EQ(JudgeFirstBytes(wrong.append(kPreface.substr(i + 1))),
              FirstBytes::kUnknown)
        << i;
  }
}

TEST(FirstBytesTest, OtherProtocolsAreUnknown) {
  for (const std::string_view words :
       {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "\r\nPRI", "pri", "\x0f"}) {
    EXPECT_EQ(JudgeFirstBytes(words), FirstBytes::kUnknown) << words;
  }
}

}  // namespace
}  // namespace tandem::rpc
