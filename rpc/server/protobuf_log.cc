#include "rpc/server/protobuf_log.h"

#include <string>

#include "google/protobuf/stubs/logging.h"
#include "spdlog/spdlog.h"

namespace tandem::rpc {
namespace {

void Log(google::protobuf::LogLevel level, const char* file, int line,
         const std::string& message) {
  spdlog::log(level == google::protobuf::LOGLEVEL_FATAL
                  ? spdlog::level::critical
                  : spdlog::level::debug,
              "protobuf {}:{}: {}", file, line, message);
}

}  // namespace

void LogProtobufBySpdlog() { google::protobuf::SetLogHandler(Log); }

}  // namespace tandem::rpc
