// A transaction of the key-value store: text such as "name=satoshi".

#ifndef TANDEM_APP_KVSTORE_TRANSACTION_H_
#define TANDEM_APP_KVSTORE_TRANSACTION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"
#include "app/application.h"

namespace tandem::app {

// Stores a value under a key.
struct Put {
  std::string key;
  std::string value;
};

// Gives a validator power; 0 takes it away.
struct SetPower {
  std::string key_type;
  std::string pub_key;
  std::int64_t power = 0;
};

using Transaction = std::variant<Put, SetPower>;

// Reads a transaction:
//
//   KEY=VALUE or KEY:VALUE      with no other = or : in it; neither is empty
//   val=TYPE!PUBKEY!POWER       PUBKEY in padded base64, POWER from 0 to 2^63-1
//
// Not longer than kMaxProposalBytes, so that it fits into a block. A key type
// or key that no validator can have is left for execution to refuse.
//
// Errors: kInvalidArgument, with the rule that was broken.
absl::StatusOr<Transaction> ParseTransaction(std::string_view text);

// The form that goes into a block: with '=' in place of ':'. `text` is valid.
std::string Canonical(std::string_view text);

// The two events that tell of it: its key and its value, or all of it for both
// when it is not of the form KEY=VALUE.
void AddEvents(std::string_view text, abci::ExecTxResult& result);

// At least the size of its result in ResponseFinalizeBlock.
std::size_t MaxResultBytes(std::string_view text);

}  // namespace tandem::app

#endif  // TANDEM_APP_KVSTORE_TRANSACTION_H_
