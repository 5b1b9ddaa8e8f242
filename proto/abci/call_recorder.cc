#include "proto/abci/call_recorder.h"

#include <utility>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/time_util.h"
#include "proto/abci/trace_file.h"
#include "spdlog/spdlog.h"

namespace tandem::abci {
namespace {

using google::protobuf::Message;
using tendermint::abci::Request;
using tendermint::abci::Response;

// Puts `part` into the member of its type of `whole`, a Request or a Response.
// A message that has no place there, which no call has, is left out.
void PutMember(const Message& part, Message& whole) {
  const google::protobuf::Descriptor& type = *whole.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->message_type() != part.GetDescriptor()) continue;
    whole.GetReflection()
        ->MutableMessage(&whole, type.field(i))
        ->CopyFrom(part);
    return;
  }
}

// Whether the record may stay in memory for a while.
bool MayWait(const v1::TraceRecord& record) {
  if (record.has_call_began()) {
    switch (record.call_began().request().value_case()) {
      case Request::kEcho:
      case Request::kFlush:
      case Request::kQuery:
      case Request::kCheckTx:
      case Request::kInsertTx:
      case Request::kReapTxs:
        return true;
      default:
        return false;
    }
  }
  if (!record.has_call_ended()) return false;
  switch (record.call_ended().response().value_case()) {
    case Response::kEcho:
    case Response::kFlush:
    case Response::kQuery:
    case Response::kCheckTx:
    case Response::kInsertTx:
    case Response::kReapTxs:
      return true;
    default:
      return false;
  }
}

}  // namespace

CallRecorder::CallRecorder(std::string program, Sink sink)
    : sink_(std::move(sink)) {
  v1::TraceRecord record;
  record.mutable_started()->set_program(std::move(program));
  rpc::MutexLock lock(mu_);
  Take(record);
}

std::uint64_t CallRecorder::Connected() {
  v1::TraceRecord record;
  rpc::MutexLock lock(mu_);
  record.mutable_connected()->set_connection(++connections_);
  Take(record);
  return connections_;
}

void CallRecorder::Disconnected(std::uint64_t connection) {
  v1::TraceRecord record;
  record.mutable_disconnected()->set_connection(connection);
  rpc::MutexLock lock(mu_);
  Take(record);
}

std::uint64_t CallRecorder::Began(std::uint64_t connection,
                                  const Message& request) {
  v1::TraceRecord record;
  v1::CallBegan& began = *record.mutable_call_began();
  began.set_connection(connection);
  PutMember(request, *began.mutable_request());
  rpc::MutexLock lock(mu_);
  began.set_call(++calls_);
  Take(record);
  return calls_;
}

void CallRecorder::EndedWith(std::uint64_t call, const absl::Status& status,
                             const Message* response) {
  v1::TraceRecord record;
  v1::CallEnded& ended = *record.mutable_call_ended();
  ended.set_call(call);
  if (response != nullptr) {
    PutMember(*response, *ended.mutable_response());
  } else {
    ended.mutable_error()->set_code(status.raw_code());
    ended.mutable_error()->set_message(std::string(status.message()));
  }
  rpc::MutexLock lock(mu_);
  Take(record);
}

void CallRecorder::Take(v1::TraceRecord& record) {
  *record.mutable_time() = google::protobuf::util::TimeUtil::GetCurrentTime();
  sink_(record);
}

CallRecorder::Sink WriteTo(TraceWriter& writer) {
  return [&writer, is_over = false](const v1::TraceRecord& record) mutable {
    if (is_over) return;
    absl::Status status = writer.Append(record);
    if (status.ok() && !MayWait(record)) status = writer.Flush();
    if (status.ok()) return;
    is_over = true;
    spdlog::error("{}: nothing more is recorded.",
                  std::string(status.message()));
  };
}

}  // namespace tandem::abci
