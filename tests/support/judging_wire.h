// A wire that knows its first bytes and serves nobody.

#ifndef TANDEM_TESTS_SUPPORT_JUDGING_WIRE_H_
#define TANDEM_TESTS_SUPPORT_JUDGING_WIRE_H_

#include <memory>
#include <string_view>

#include "rpc/wire/wire.h"

namespace tandem::rpc::test {

class JudgingWire final : public Wire {
 public:
  using Judgement = Verdict (*)(std::string_view seen);

  explicit JudgingWire(Judgement judgement) : judgement_(judgement) {}

  std::string_view name() const override { return "judging"; }
  Verdict Judge(std::string_view seen) const override {
    return judgement_(seen);
  }
  absl::Status Start(const WireParts&) override { return absl::OkStatus(); }
  void Serve(UniqueFd, std::shared_ptr<ServerConnection>) override {}
  void Stop(absl::Time) override {}

 private:
  const Judgement judgement_;
};

}  // namespace tandem::rpc::test

#endif  // TANDEM_TESTS_SUPPORT_JUDGING_WIRE_H_
