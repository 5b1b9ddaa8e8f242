#include "rpc/base/sha256.h"

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

// The examples of FIPS 180-2, and nothing.
TEST(Sha256Test, IsThatOfTheStandard) {
  EXPECT_EQ(absl::BytesToHexString(Sha256("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(absl::BytesToHexString(Sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(absl::BytesToHexString(Sha256(
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256Test, CountsBytesOfZero) {
  using std::string_view_literals::operator""sv;
  EXPECT_NE(Sha256("a\0b"sv), Sha256("a\0c"sv));
}

}  // namespace
}  // namespace tandem::rpc
