#include "app/kvstore/transaction.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"

namespace tandem::app {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// 32 bytes in base64.
constexpr char kKey[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

std::string PairOf(std::string_view text) {
  const auto transaction = ParseTransaction(text);
  if (!transaction.ok()) return "invalid";
  const auto* put = std::get_if<Put>(&*transaction);
  return put == nullptr ? "no pair" : put->key + " -> " + put->value;
}

TEST(TransactionTest, HasOneSeparatorOfTwoKinds) {
  EXPECT_EQ(PairOf("abc=123"), "abc -> 123");
  EXPECT_EQ(PairOf("abc:123"), "abc -> 123");
  EXPECT_EQ(PairOf("a=\xff"), "a -> \xff");
  EXPECT_EQ(PairOf(std::string_view("\0=\0", 3)), std::string("\0 -> \0", 6));
}

TEST(TransactionTest, WithoutExactlyOneSeparatorIsInvalid) {
  for (const char* text :
       {"", "abc", "a==b", "a=b=c", "a:b=c", "a=b:c", "::"}) {
    EXPECT_THAT(ParseTransaction(text),
                StatusIs(kInvalid, HasSubstr("one = or")))
        << text;
  }
}

TEST(TransactionTest, WithAnEmptyKeyOrValueIsInvalid) {
  EXPECT_THAT(ParseTransaction("=b"), StatusIs(kInvalid, HasSubstr("key")));
  EXPECT_THAT(ParseTransaction(":b"), StatusIs(kInvalid, HasSubstr("key")));
  EXPECT_THAT(ParseTransaction("a="), StatusIs(kInvalid, HasSubstr("value")));
  EXPECT_THAT(ParseTransaction("a:"), StatusIs(kInvalid, HasSubstr("value")));
  EXPECT_THAT(ParseTransaction("="), StatusIs(kInvalid));
}

TEST(TransactionTest, ThatFitsInNoBlockIsInvalid) {
  EXPECT_THAT(ParseTransaction("a=" + std::string(1 << 20, 'x')), IsOk());
  EXPECT_THAT(ParseTransaction("a=" + std::string(4 << 20, 'x')),
              StatusIs(kInvalid, HasSubstr("4194306 bytes fit in no block")));
}

TEST(TransactionTest, SetsThePowerOfAValidator) {
  const auto transaction =
      ParseTransaction(std::string("val=ed25519!") + kKey + "!7");
  ASSERT_THAT(transaction, IsOk());
  const auto& change = std::get<SetPower>(*transaction);
  EXPECT_EQ(change.key_type, "ed25519");
  EXPECT_EQ(change.pub_key.size(), 32u);
  EXPECT_EQ(change.pub_key[31], '\x1f');
  EXPECT_EQ(change.power, 7);
}

// Decimal as Go's ParseInt takes it.
TEST(TransactionTest, PowerIsADecimalThatIsNotNegative) {
  for (const char* power : {"0", "+5", "-0", "007", "9223372036854775807"}) {
    EXPECT_THAT(ParseTransaction(std::string("val=x!AAAA!") + power), IsOk())
        << power;
  }
  for (const char* power : {"", "-1", "1 ", " 1", "1.0", "0x1", "+-1", "++1",
                            "1_0", "9223372036854775808"}) {
    EXPECT_THAT(ParseTransaction(std::string("val=x!AAAA!") + power),
                StatusIs(kInvalid, HasSubstr("power")))
        << power;
  }
}

TEST(TransactionTest, KeyOfAValidatorIsPaddedBase64) {
  for (const char* key : {"", "AAAA", "+/+/", "AA==", "AAA="}) {
    EXPECT_THAT(ParseTransaction(std::string("val=x!") + key + "!1"), IsOk())
        << key;
  }
  for (const char* key : {"A", "AA", "AAA", "A===", "====", "AA=A", "-_-_",
                          "AA A", "AAA.", "AAAA=", "AAAA===="}) {
    EXPECT_THAT(ParseTransaction(std::string("val=x!") + key + "!1"),
                StatusIs(kInvalid, HasSubstr("base64")))
        << key;
  }
}

TEST(TransactionTest, OfAValidatorHasThreeParts) {
  for (const char* text : {"val=", "val=1", "val=a!AAAA", "val=a!AAAA!1!"}) {
    EXPECT_THAT(ParseTransaction(text), StatusIs(kInvalid, HasSubstr("val=")))
        << text;
  }
  EXPECT_EQ(PairOf("val:1"), "val -> 1");
}

TEST(TransactionTest, CanonicalFormHasAnEqualsSign) {
  EXPECT_EQ(Canonical("a:b"), "a=b");
  EXPECT_EQ(Canonical("a=b"), "a=b");
}

std::string TextOf(const abci::Event& event) {
  std::string text = event.type();
  for (const abci::EventAttribute& attribute : event.attributes()) {
    text += " " + attribute.key() + (attribute.index() ? "=" : "~") +
            attribute.value();
  }
  return text;
}

TEST(TransactionTest, EventsNameKeyAndValue) {
  abci::ExecTxResult result;
  AddEvents("k=v", result);
  ASSERT_EQ(result.events_size(), 2);
  EXPECT_EQ(TextOf(result.events(0)),
            "app creator=Cosmoshi Netowoko key=k index_key=index is working "
            "noindex_key~index is working");
  EXPECT_EQ(TextOf(result.events(1)),
            "app creator=Cosmoshi key=v index_key=index is working "
            "noindex_key~index is working");
}

TEST(TransactionTest, EventsNameAllOfWhatIsNoPair) {
  abci::ExecTxResult result;
  AddEvents("val=ed25519!AA==!1", result);
  ASSERT_EQ(result.events_size(), 2);
  EXPECT_EQ(result.events(0).attributes(1).value(), "val=ed25519!AA==!1");
  EXPECT_EQ(result.events(1).attributes(1).value(), "val=ed25519!AA==!1");
}

TEST(TransactionTest, ResultIsNotLargerThanStated) {
  for (std::size_t size : {0, 1, 100, 127, 128, 300, 20000, 2000000}) {
    for (const std::string& tx :
         {std::string(size, 'x'), "k=" + std::string(size, 'v')}) {
      abci::ResponseFinalizeBlock block;
      AddEvents(tx, *block.add_tx_results());
      EXPECT_LE(block.ByteSizeLong(), MaxResultBytes(tx)) << size;
    }
  }
}

}  // namespace
}  // namespace tandem::app
