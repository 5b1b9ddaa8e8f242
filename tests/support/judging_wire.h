// A wire that knows its first bytes and serves nobody.

#ifndef TANDEM_TESTS_SUPPORT_JUDGING_WIRE_H_
#define TANDEM_TESTS_SUPPORT_JUDGING_WIRE_H_

#include <memory>
#include <string_view>

#include "rpc/wire/wire.h"

namespace tandem::test {

class JudgingWire final : public rpc::Wire {
 public:
  using Judgement = rpc::Verdict (*)(std::string_view seen);

  explicit JudgingWire(Judgement judgement) : judgement_(judgement) {}

  std::string_view name() const override { return "judging"; }
  rpc::Verdict Judge(std::string_view seen) const override {
    return judgement_(seen);
  }
  absl::Status Start(const rpc::WireParts&) override {
    return absl::OkStatus();
  }
  void Serve(rpc::UniqueFd, std::shared_ptr<rpc::ServerConnection>) override {}
  void Stop(absl::Time) override {}

 private:
  const Judgement judgement_;
};

}  // namespace tandem::test

#endif  // TANDEM_TESTS_SUPPORT_JUDGING_WIRE_H_
