#include "rpc/wire/grpc/grpc_status.h"

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "rpc/wire/error_bytes.h"

namespace tandem::rpc {
namespace {

// What gRPC's limit of 8 KiB leaves, beside headers of its own.
constexpr std::size_t kMaxHeaders = 7 << 10;
// Percent-encoding triples it at worst.
constexpr std::size_t kMaxMessageBytes = 2048;

std::size_t PercentEncodedBytes(std::string_view text) {
  std::size_t bytes = 0;
  for (const char c : text) bytes += c >= 0x20 && c < 0x7f && c != '%' ? 1 : 3;
  return bytes;
}

bool HasPayloads(const absl::Status& status) {
  bool has_payloads = false;
  status.ForEachPayload(
      [&](absl::string_view, const absl::Cord&) { has_payloads = true; });
  return has_payloads;
}

// A google.rpc.Status, for a header in Base64 beside that of the message.
std::string DetailsOf(const absl::Status& status, std::string_view message) {
  const std::size_t max_bytes =
      (kMaxHeaders - PercentEncodedBytes(message)) / 4 * 3;
  std::string details = ErrorBytes(status, kMaxMessageBytes, max_bytes);
  if (details.size() > max_bytes) details.clear();
  return details;
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string message(status.message());
  if (message.size() > kMaxMessageBytes) {
    message.resize(kMaxMessageBytes);
    message += "...";
  }
  return grpc::Status(
      static_cast<grpc::StatusCode>(status.code()), message,
      HasPayloads(status) ? DetailsOf(status, message) : std::string());
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status error(static_cast<absl::StatusCode>(status.error_code()),
                     status.error_message());
  absl::Status detailed;
  if (!status.error_details().empty() &&
      ParseErrorBytes(status.error_details(), &detailed)) {
    detailed.ForEachPayload(
        [&error](absl::string_view type, const absl::Cord& value) {
          error.SetPayload(type, value);
        });
  }
  return error;
}

}  // namespace tandem::rpc
