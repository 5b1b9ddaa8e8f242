// What a ttrpc peer sends, which may be anything.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "rpc/wire/frames/output_buffer.h"
#include "rpc/wire/ttrpc/frame.h"

namespace {

using tandem::rpc::OutputBuffer;
using tandem::rpc::ttrpc::FrameHeader;
using tandem::rpc::ttrpc::kHeaderBytes;
using tandem::rpc::ttrpc::Request;
using tandem::rpc::ttrpc::Response;

void Check(bool holds) {
  if (!holds) std::abort();
}

bool IsWithin(std::string_view part, std::string_view whole) {
  return part.empty() ||
         (part.data() >= whole.data() &&
          part.data() + part.size() <= whole.data() + whole.size());
}

// What is written in one frame; `frame` keeps it.
std::string_view DataOf(const OutputBuffer& out, std::uint8_t type,
                        std::uint32_t stream) {
  const std::string_view frame = out.unsent();
  Check(frame.size() >= kHeaderBytes);
  const FrameHeader header = tandem::rpc::ttrpc::ParseHeader(frame.data());
  Check(header.type == type && header.stream == stream);
  Check(header.data_bytes == frame.size() - kHeaderBytes);
  return frame.substr(kHeaderBytes);
}

// What was read can be written and is read again as the same.
void CheckRequest(std::string_view data) {
  Request request;
  if (!tandem::rpc::ttrpc::ParseRequest(data, &request)) return;
  Check(IsWithin(request.service, data) && IsWithin(request.method, data) &&
        IsWithin(request.payload, data));
  OutputBuffer out;
  tandem::rpc::ttrpc::AppendRequest(out, 7, 2, request, {});
  const std::string_view written = DataOf(out, tandem::rpc::ttrpc::kRequest, 7);
  Check(written.size() == tandem::rpc::ttrpc::RequestBytes(request, {}));
  Request again;
  Check(tandem::rpc::ttrpc::ParseRequest(written, &again));
  Check(again.service == request.service && again.method == request.method &&
        again.timeout_nanos == request.timeout_nanos &&
        again.metadata == request.metadata && again.payload.empty());
  Request names;
  tandem::rpc::ttrpc::ParseNames(data, &names);
  Check(names.service == request.service && names.method == request.method);
}

void CheckResponse(std::string_view data) {
  Response response;
  if (!tandem::rpc::ttrpc::ParseResponse(data, &response)) return;
  Check(IsWithin(response.payload, data));
  if (response.status.ok()) return;
  OutputBuffer out;
  tandem::rpc::ttrpc::AppendError(out, 9, response.status);
  Response again;
  Check(tandem::rpc::ttrpc::ParseResponse(
      DataOf(out, tandem::rpc::ttrpc::kResponse, 9), &again));
  Check(again.status.code() == response.status.code());
  // Once it is UTF-8 it stays as it is.
  OutputBuffer third;
  tandem::rpc::ttrpc::AppendError(third, 9, again.status);
  if (response.status.message().size() < 1024)
    Check(third.size() == out.size());
}

// As a connection goes through what has come.
void CheckFrames(std::string_view bytes) {
  while (bytes.size() >= kHeaderBytes) {
    const FrameHeader header = tandem::rpc::ttrpc::ParseHeader(bytes.data());
    bytes.remove_prefix(kHeaderBytes);
    const std::string_view data = bytes.substr(0, header.data_bytes);
    CheckRequest(data);
    CheckResponse(data);
    Check((data.size() == 4) || tandem::rpc::ttrpc::ParseCredit(data) == 0);
    bytes.remove_prefix(data.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  CheckFrames(bytes);
  // Without a header few inputs are wasted.
  CheckRequest(bytes);
  CheckResponse(bytes);
  return 0;
}
