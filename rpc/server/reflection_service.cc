#include "rpc/server/reflection_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"

namespace tandem::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::FileDescriptorProto;

const DescriptorPool& Pool() { return *DescriptorPool::generated_pool(); }

// Adds `file` and all that it imports, each once.
template <typename Response>
void AddFile(const FileDescriptor& file, std::set<const FileDescriptor*>& added,
             Response* response) {
  if (!added.insert(&file).second) return;
  FileDescriptorProto proto;
  file.CopyTo(&proto);
  response->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) {
    AddFile(*file.dependency(i), added, response);
  }
}

template <typename Response>
void SetError(absl::StatusCode code, const std::string& message,
              Response* response) {
  response->mutable_error_response()->set_error_code(static_cast<int>(code));
  response->mutable_error_response()->set_error_message(message);
}

template <typename Response>
void SetFile(const FileDescriptor* file, const std::string& what,
             Response* response) {
  if (file == nullptr) {
    return SetError(absl::StatusCode::kNotFound,
                    absl::StrCat("no .proto file for ", what), response);
  }
  std::set<const FileDescriptor*> added;
  AddFile(*file, added, response->mutable_file_descriptor_response());
}

template <typename Response>
void SetExtensionNumbers(const std::string& type, Response* response) {
  const Descriptor* const message = Pool().FindMessageTypeByName(type);
  if (message == nullptr) {
    return SetError(absl::StatusCode::kNotFound,
                    absl::StrCat("no message ", type), response);
  }
  std::vector<const FieldDescriptor*> extensions;
  Pool().FindAllExtensions(message, &extensions);
  auto& numbers = *response->mutable_all_extension_numbers_response();
  numbers.set_base_type_name(type);
  for (const FieldDescriptor* extension : extensions) {
    numbers.add_extension_number(extension->number());
  }
}

// The file of an extension of a message; null when there is none.
const FileDescriptor* FileOfExtension(const std::string& type, int number) {
  const Descriptor* const message = Pool().FindMessageTypeByName(type);
  if (message == nullptr) return nullptr;
  const FieldDescriptor* const extension =
      Pool().FindExtensionByNumber(message, number);
  return extension == nullptr ? nullptr : extension->file();
}

template <typename Request, typename Response>
Response Answer(const Request& request, const std::set<std::string>& services) {
  Response response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case Request::kListServices:
      for (const std::string& name : services) {
        response.mutable_list_services_response()->add_service()->set_name(
            name);
      }
      break;
    case Request::kFileByFilename:
      SetFile(Pool().FindFileByName(request.file_by_filename()),
              request.file_by_filename(), &response);
      break;
    case Request::kFileContainingSymbol:
      SetFile(Pool().FindFileContainingSymbol(request.file_containing_symbol()),
              request.file_containing_symbol(), &response);
      break;
    case Request::kFileContainingExtension: {
      const auto& extension = request.file_containing_extension();
      SetFile(FileOfExtension(extension.containing_type(),
                              extension.extension_number()),
              absl::StrCat("extension ", extension.extension_number(), " of ",
                           extension.containing_type()),
              &response);
      break;
    }
    case Request::kAllExtensionNumbersOfType:
      SetExtensionNumbers(request.all_extension_numbers_of_type(), &response);
      break;
    case Request::MESSAGE_REQUEST_NOT_SET:
      SetError(absl::StatusCode::kInvalidArgument,
               "the request does not say what it asks for", &response);
      break;
  }
  return response;
}

// One stream. It lives in the callbacks that it waits for, and holds no thread.
template <typename Request, typename Response>
class Conversation final
    : public Conversations::Member,
      public std::enable_shared_from_this<Conversation<Request, Response>> {
 public:
  Conversation(Reader<Request> in, Writer<Response> out,
               const std::set<std::string>& services, Conversations& all)
      : in_(std::move(in)),
        out_(std::move(out)),
        services_(services),
        all_(all) {}
  ~Conversation() override { all_.Remove(this); }

  void ReadNext() ABSL_LOCKS_EXCLUDED(mu_) {
    bool is_stopping;
    {
      MutexLock lock(mu_);
      is_stopping = is_stopping_;
      is_reading_ = !is_stopping;
    }
    if (is_stopping) return End();
    in_.Read(&request_, [self = this->shared_from_this()](bool has_request) {
      self->OnRead(has_request);
    });
  }

  void Stop() override ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      is_stopping_ = true;
      // Whoever writes the answer sees it.
      if (!std::exchange(is_reading_, false)) return;
    }
    End();
  }

 private:
  void OnRead(bool has_request) ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      // Stop() has ended it.
      if (!std::exchange(is_reading_, false)) return;
    }
    if (!has_request) return out_.Finish(absl::OkStatus());
    response_ = Answer<Request, Response>(request_, services_);
    Send();
  }

  void Send() {
    const absl::Status sent = out_.Write(response_);
    if (sent.ok()) return ReadNext();
    if (!absl::IsResourceExhausted(sent)) return out_.Finish(sent);
    // The next request waits until this answer has found room.
    out_.OnWritable([self = this->shared_from_this()] { self->Send(); });
  }

  void End() { out_.Finish(absl::UnavailableError("the server is stopping")); }

  Reader<Request> in_;
  // Of whoever made is_reading_ false: Stop(), or what follows a request.
  Writer<Response> out_;
  const std::set<std::string>& services_;  // The service's.
  Conversations& all_;                     // Likewise.
  Request request_;
  Response response_;

  Mutex mu_;
  bool is_reading_ ABSL_GUARDED_BY(mu_) = false;
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;
};

template <typename Request, typename Response>
void Begin(Reader<Request> in, Writer<Response> out,
           const std::set<std::string>& services, Conversations& all) {
  const auto conversation = std::make_shared<Conversation<Request, Response>>(
      std::move(in), std::move(out), services, all);
  all.Add(conversation);
  conversation->ReadNext();
}

}  // namespace

void Conversations::Add(const std::shared_ptr<Member>& member) {
  {
    MutexLock lock(mu_);
    members_.emplace(member.get(), member);
    if (!is_stopped_) return;
  }
  member->Stop();
}

void Conversations::Remove(Member* member) {
  MutexLock lock(mu_);
  members_.erase(member);
}

void Conversations::Stop() {
  std::vector<std::shared_ptr<Member>> members;
  {
    MutexLock lock(mu_);
    if (std::exchange(is_stopped_, true)) return;
    for (const auto& [address, weak] : members_) {
      if (auto member = weak.lock()) members.push_back(std::move(member));
    }
  }
  for (const auto& member : members) member->Stop();
}

void ReflectionService::ServerReflectionInfo(
    Call& call, Reader<grpc::reflection::v1::ServerReflectionRequest> in,
    Writer<grpc::reflection::v1::ServerReflectionResponse> out) {
  Begin(std::move(in), std::move(out), services_, conversations_);
}

void ReflectionAlphaService::ServerReflectionInfo(
    Call& call, Reader<grpc::reflection::v1alpha::ServerReflectionRequest> in,
    Writer<grpc::reflection::v1alpha::ServerReflectionResponse> out) {
  Begin(std::move(in), std::move(out), services_, conversations_);
}

}  // namespace tandem::rpc
