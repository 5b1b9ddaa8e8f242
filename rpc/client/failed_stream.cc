#include "rpc/client/failed_stream.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem::rpc {
namespace {

class Failed final : public ClientStream {
 public:
  explicit Failed(absl::Status status) : status_(std::move(status)) {}

  absl::Status Send(const google::protobuf::MessageLite&) override {
    return absl::CancelledError("the stream is over");
  }
  void OnWritable(Ready ready) override { ready(); }
  void Receive(google::protobuf::MessageLite*, Received done) override {
    done(false);
  }
  void CloseSend() override {}
  void Cancel() override {}
  absl::Status status() const override { return status_; }

 private:
  const absl::Status status_;
};

}  // namespace

absl::Status Named(const Method& method, const absl::Status& why) {
  return absl::Status(
      why.code(), absl::StrCat(method.path, ": ", std::string(why.message())));
}

std::shared_ptr<ClientStream> FailedStream(absl::Status status) {
  return std::make_shared<Failed>(std::move(status));
}

}  // namespace tandem::rpc
