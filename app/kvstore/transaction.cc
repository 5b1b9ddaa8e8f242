#include "app/kvstore/transaction.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "proto/abci/block_bytes.h"
#include "rpc/base/status_macros.h"

namespace tandem::app {
namespace {

constexpr std::string_view kValidatorPrefix = "val=";

absl::Status Invalid(std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("not a transaction of this store: ", std::string(why)));
}

// Standard base64 with its padding and nothing else; absl alone takes less and
// more than that.
std::optional<std::string> DecodeBase64(std::string_view text) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) return std::nullopt;
  std::string_view digits = text;
  while (digits.ends_with('=') && text.size() - digits.size() < 2) {
    digits.remove_suffix(1);
  }
  if (digits.find_first_not_of(kAlphabet) != std::string_view::npos) {
    return std::nullopt;
  }
  std::string bytes;
  if (!absl::Base64Unescape(std::string(text), &bytes)) return std::nullopt;
  return bytes;
}

std::optional<std::int64_t> ParsePower(std::string_view text) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  std::int64_t power = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), power);
  if (error != std::errc() || end != text.data() + text.size() || power < 0) {
    return std::nullopt;
  }
  return power;
}

absl::StatusOr<SetPower> ParseSetPower(std::string_view text) {
  const std::vector<std::string> parts =
      absl::StrSplit(std::string(text.substr(kValidatorPrefix.size())), '!');
  if (parts.size() != 3)
    return Invalid("val= is not followed by TYPE!KEY!POWER");
  const auto pub_key = DecodeBase64(parts[1]);
  if (!pub_key) return Invalid("the validator's key is not padded base64");
  const auto power = ParsePower(parts[2]);
  if (!power) return Invalid("the validator's power is not 0 to 2^63-1");
  return SetPower{.key_type = parts[0], .pub_key = *pub_key, .power = *power};
}

bool IsSeparator(char c) { return c == '=' || c == ':'; }

absl::StatusOr<Put> ParsePut(std::string_view text) {
  if (std::ranges::count_if(text, IsSeparator) != 1) {
    return Invalid("it has not exactly one = or :");
  }
  const std::size_t at = text.find_first_of("=:");
  if (at == 0) return Invalid("its key is empty");
  if (at == text.size() - 1) return Invalid("its value is empty");
  return Put{.key = std::string(text.substr(0, at)),
             .value = std::string(text.substr(at + 1))};
}

void AddEvent(std::string_view creator, std::string_view key,
              abci::ExecTxResult& result) {
  abci::Event& event = *result.add_events();
  event.set_type("app");
  const auto add = [&event](const char* name, std::string_view value,
                            bool index) {
    abci::EventAttribute& attribute = *event.add_attributes();
    attribute.set_key(name);
    attribute.set_value(value.data(), value.size());
    attribute.set_index(index);
  };
  add("creator", creator, true);
  add("key", key, true);
  add("index_key", "index is working", true);
  add("noindex_key", "index is working", false);
}

}  // namespace

absl::StatusOr<Transaction> ParseTransaction(std::string_view text) {
  if (::tandem::abci::BytesInBlock(text.size()) >
          std::int64_t{kMaxProposalBytes} ||
      MaxResultBytes(text) > kMaxProposalBytes) {
    return Invalid(absl::StrCat("its ", text.size(), " bytes fit in no block"));
  }
  if (text.starts_with(kValidatorPrefix)) return ParseSetPower(text);
  return ParsePut(text);
}

std::string Canonical(std::string_view text) {
  std::string canonical(text);
  const std::size_t at = canonical.find(':');
  if (at != std::string::npos) canonical[at] = '=';
  return canonical;
}

// The names are those of the reference application, spelling included: readers
// of events compare them.
void AddEvents(std::string_view text, abci::ExecTxResult& result) {
  std::string_view key = text;
  std::string_view value = text;
  if (std::ranges::count(text, '=') == 1) {
    const std::size_t at = text.find('=');
    key = text.substr(0, at);
    value = text.substr(at + 1);
  }
  AddEvent("Cosmoshi Netowoko", key, result);
  AddEvent("Cosmoshi", value, result);
}

std::size_t MaxResultBytes(std::string_view text) {
  // Names, constants and lengths take 227 bytes around an empty transaction and
  // at most 20 more around a long one.
  return 256 + 2 * text.size();
}

}  // namespace tandem::app
