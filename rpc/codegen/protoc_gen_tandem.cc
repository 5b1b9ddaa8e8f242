// protoc-gen-tandem: for each service of a .proto a handler to implement, a
// client to call it with, and the dispatch table between them. Nothing that it
// writes names a wire. For x.proto it writes x.tandem.h and x.tandem.cc, always
// both, so that a build knows its outputs without reading the .proto.

#include <google/protobuf/compiler/code_generator.h>
#include <google/protobuf/compiler/cpp/names.h>
#include <google/protobuf/compiler/plugin.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/substitute.h"
#include "rpc/codegen/fingerprint.h"
#include "rpc/codegen/keywords.h"
#include "tandem/rpc/v1/options.pb.h"

namespace tandem::rpc {
namespace {

using absl::StrCat;
using absl::Substitute;
using google::protobuf::Descriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;
namespace cpp = google::protobuf::compiler::cpp;

constexpr std::size_t kColumns = 80;
// How deep the lambdas of the dispatch table stand.
constexpr int kLambda = 14;

// --- Names -------------------------------------------------------------------

// "kv::v1", or nothing.
std::string Namespace(const FileDescriptor& file) {
  return absl::StrReplaceAll(file.package(), {{".", "::"}});
}

// "kv.v1.Store/Get".
std::string FullName(const MethodDescriptor& method) {
  return StrCat(method.service()->full_name(), "/", method.name());
}

// Names that methods of the generated classes cannot have.
std::set<std::string> ReservedNames(const ServiceDescriptor& service) {
  return {StrCat(service.name(), "Handler"), StrCat(service.name(), "Client"),
          "transport_"};
}

// What `method` is called in C++: as in the .proto, with underscores behind
// where that is a keyword, or taken.
std::string CppName(const MethodDescriptor& method) {
  const ServiceDescriptor& service = *method.service();
  std::set<std::string> taken = ReservedNames(service);
  for (int i = 0; i < service.method_count(); ++i) {
    if (i != method.index()) taken.insert(service.method(i)->name());
  }
  std::string name = method.name() + (IsKeyword(method.name()) ? "_" : "");
  while (taken.count(name) > 0) name += "_";
  return name;
}

// Names that mean something else within the generated classes than outside, so
// that a message of that name must be qualified there.
bool IsHidden(const std::string& name, const ServiceDescriptor& service) {
  static const std::set<std::string>* const kOurs = new std::set<std::string>{
      "Done",     "Serve",   "Table",        "call",      "done",
      "handler",  "in",      "kFingerprint", "kInfo",     "kMethods",
      "kService", "options", "out",          "reply",     "request",
      "rpc",      "self",    "stream",       "transport_"};
  if (kOurs->count(name) > 0) return true;
  for (int i = 0; i < service.method_count(); ++i) {
    if (CppName(*service.method(i)) == name) return true;
  }
  return false;
}

// The C++ type of a message, as code of `service` may call it.
std::string TypeName(const Descriptor& message,
                     const ServiceDescriptor& service) {
  const std::string name = cpp::ClassName(&message);
  const bool is_ours = message.file()->package() == service.file()->package();
  if (is_ours && !IsHidden(name, service)) return name;
  return cpp::QualifiedClassName(&message);
}

// --- Text --------------------------------------------------------------------

std::string Indented(int indent, const std::string& text) {
  const std::string spaces(indent, ' ');
  std::string out;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size() - 1) + 1;
    if (rest.front() != '\n') out += spaces;
    out += rest.substr(0, end);
    rest.remove_prefix(end);
  }
  return out;
}

// A comment of the .proto as a C++ comment.
std::string Comment(const std::string& text) {
  std::string out;
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  for (std::string& line : lines) {
    // A backslash at the end would pull the next line into the comment.
    if (!line.empty() && line.back() == '\\') line += " //";
    absl::StrAppend(&out, "//", line, "\n");
  }
  return out;
}

template <typename Element>
std::string LeadingComment(const Element& element) {
  google::protobuf::SourceLocation location;
  if (!element.GetSourceLocation(&location)) return "";
  const std::string& comment = location.leading_comments;
  return Comment(comment.empty() ? location.trailing_comments : comment);
}

// Puts `pieces` behind `line`, as many on a line as there is room for; further
// lines are `indent` deep.
std::string Packed(std::string line, int indent,
                   const std::vector<std::string>& pieces) {
  std::string out;
  bool is_fresh = true;
  for (const std::string& piece : pieces) {
    if (!is_fresh && line.size() + 1 + piece.size() > kColumns) {
      absl::StrAppend(&out, line, "\n");
      line = std::string(indent, ' ');
      is_fresh = true;
    }
    absl::StrAppend(&line, is_fresh ? "" : " ", piece);
    is_fresh = false;
  }
  return out + line;
}

std::size_t LongestLine(const std::string& text) {
  std::size_t longest = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    longest = std::max(longest, line.size());
  }
  return longest;
}

std::ptrdiff_t CountLines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

// "head(arguments)tail" in at most 80 columns, as clang-format would break it.
std::string WithArguments(int indent, const std::string& head,
                          std::vector<std::string> arguments,
                          const std::string& tail) {
  for (std::size_t i = 0; i + 1 < arguments.size(); ++i) arguments[i] += ",";
  arguments.back() += ")" + tail;
  const std::string start = StrCat(std::string(indent, ' '), head, "(");
  const std::string aligned = Packed(start, start.size(), arguments);
  const std::string next(indent + 4, ' ');
  const std::string below =
      StrCat(start, "\n", Packed(next, indent + 4, arguments));
  const bool is_aligned = LongestLine(aligned) <= kColumns &&
                          CountLines(aligned) <= CountLines(below);
  return StrCat(is_aligned ? aligned : below, "\n");
}

// The head of a function or, with ";" as `tail`, its declaration.
std::string Function(int indent, const std::string& result,
                     const std::string& name,
                     const std::vector<std::string>& parameters,
                     const std::string& tail) {
  const std::string text =
      WithArguments(indent, StrCat(result, " ", name), parameters, tail);
  if (LongestLine(text) <= kColumns) return text;
  // A long result stands on a line of its own.
  return StrCat(std::string(indent, ' '), result, "\n",
                WithArguments(indent, name, parameters, tail));
}

// --- Methods -----------------------------------------------------------------

bool IsUnary(const MethodDescriptor& m) {
  return !m.client_streaming() && !m.server_streaming();
}

const v1::MethodRules& Rules(const MethodDescriptor& method) {
  return method.options().GetExtension(v1::method);
}

// The words for one method that templates below are filled with.
struct Words {
  explicit Words(const MethodDescriptor& m)
      : name(CppName(m)),
        in(TypeName(*m.input_type(), *m.service())),
        out(TypeName(*m.output_type(), *m.service())),
        row(StrCat(m.service()->name(), "Handler::Table().methods[", m.index(),
                   "]")) {}

  const std::string name;
  const std::string in;
  const std::string out;
  // The method's row of the table.
  const std::string row;
};

// What the handler's method returns.
std::string HandlerResult(const MethodDescriptor& m) {
  const bool returns = IsUnary(m) && !Rules(m).later();
  return returns ? StrCat("::absl::StatusOr<", Words(m).out, ">") : "void";
}

// What it takes. Without names: for a definition that uses none of them but the
// one it answers through.
std::vector<std::string> HandlerParameters(const MethodDescriptor& m,
                                           bool with_names) {
  const Words w(m);
  std::vector<std::string> parameters = {
      StrCat("::tandem::rpc::Call&", with_names ? " call" : "")};
  if (m.client_streaming()) {
    parameters.push_back(
        StrCat("::tandem::rpc::Reader<", w.in, ">", with_names ? " in" : ""));
  } else {
    parameters.push_back(
        StrCat("const ", w.in, "&", with_names ? " request" : ""));
  }
  if (m.server_streaming()) {
    parameters.push_back(StrCat("::tandem::rpc::Writer<", w.out, "> out"));
  } else if (m.client_streaming() || Rules(m).later()) {
    parameters.push_back(StrCat("::tandem::rpc::Reply<", w.out, "> reply"));
  }
  return parameters;
}

std::string HandlerDeclaration(const MethodDescriptor& m) {
  return "\n" + Indented(2, LeadingComment(m)) +
         Function(2, "virtual " + HandlerResult(m), CppName(m),
                  HandlerParameters(m, true), ";");
}

std::string HandlerDefinition(const MethodDescriptor& m) {
  const ServiceDescriptor& service = *m.service();
  const std::string name = StrCat("\"", FullName(m), "\"");
  const std::string error = "::tandem::rpc::NotImplemented";
  std::string body;
  if (IsUnary(m) && !Rules(m).later()) {
    body = WithArguments(2, "return " + error, {name}, ";");
  } else {
    const std::string answer =
        m.server_streaming() ? "out.Finish" : "reply.Send";
    body = WithArguments(2, answer, {StrCat(error, "(", name, ")")}, ";");
    if (LongestLine(body) > kColumns) {
      body = WithArguments(2, StrCat(answer, "(", error), {name}, ");");
    }
  }
  return StrCat("\n",
                Function(0, HandlerResult(m),
                         StrCat(service.name(), "Handler::", CppName(m)),
                         HandlerParameters(m, false), " {"),
                body, "}\n");
}

// What the client's method returns where the call streams.
std::string StreamResult(const MethodDescriptor& m) {
  const Words w(m);
  if (!m.client_streaming()) {
    return StrCat("::tandem::rpc::StreamReader<", w.out, ">");
  }
  return StrCat("::tandem::rpc::Stream",
                m.server_streaming() ? "ReaderWriter<" : "Writer<", w.in, ", ",
                w.out, ">");
}

// What the client's blocking or streaming method returns and takes.
std::string ClientResult(const MethodDescriptor& m) {
  return IsUnary(m) ? StrCat("::absl::StatusOr<", Words(m).out, ">")
                    : StreamResult(m);
}

std::vector<std::string> ClientParameters(const MethodDescriptor& m,
                                          const std::string& fallback) {
  std::vector<std::string> parameters;
  if (!m.client_streaming()) {
    parameters.push_back(StrCat("const ", Words(m).in, "& request"));
  }
  parameters.push_back("const ::tandem::rpc::CallOptions& options" + fallback);
  return parameters;
}

std::string ClientDeclaration(const MethodDescriptor& m) {
  const Words w(m);
  std::string out =
      "\n" + Indented(2, LeadingComment(m)) +
      Function(2, ClientResult(m), w.name, ClientParameters(m, " = {}"), ";");
  if (!IsUnary(m)) return out;
  std::vector<std::string> parameters = ClientParameters(m, "");
  const std::string done = w.name == "Done" ? "Callback" : "Done";
  parameters.push_back(done + " done");
  return StrCat(
      out, "  template <typename ", done, ">\n",
      Function(2, "void", w.name, parameters, " {"),
      WithArguments(
          4, StrCat("::tandem::rpc::CallThen<", w.out, ">"),
          {"transport_", w.row, "request", "options", "std::move(done)"}, ";"),
      "  }\n");
}

std::string ClientDefinition(const MethodDescriptor& m) {
  const Words w(m);
  const std::string head = Function(
      0, ClientResult(m), StrCat(m.service()->name(), "Client::", w.name),
      ClientParameters(m, ""), " {");
  if (IsUnary(m)) {
    return StrCat(
        "\n", head,
        WithArguments(2,
                      StrCat("return ::tandem::rpc::CallAndWait<", w.out, ">"),
                      {"transport_", w.row, "request", "options"}, ";"),
        "}\n");
  }
  const std::string request = m.client_streaming() ? "nullptr" : "&request";
  return StrCat(
      "\n", head, "  return ", StreamResult(m), "(\n",
      WithArguments(6, "transport_.Open", {w.row, request, "options"}, ");"),
      "}\n");
}

// How the table calls a unary method: a lambda.
std::string UnaryAdapter(const MethodDescriptor& m) {
  const Words w(m);
  const std::string head = Substitute(
      R"([](void* handler, rpc::ServerCall& call) {
  auto* self = static_cast<$0Handler*>(handler);
)",
      m.service()->name());
  const std::string cast = Substitute("static_cast<const $0&>", w.in);
  std::string request = WithArguments(
      kLambda + 2, "const auto& request = " + cast, {"call.request()"}, ";");
  if (CountLines(request) > 1) {
    request = StrCat(std::string(kLambda + 2, ' '), "const auto& request =\n",
                     WithArguments(kLambda + 6, cast, {"call.request()"}, ";"));
  }
  const std::string answer =
      Rules(m).later()
          ? WithArguments(
                kLambda + 2, "self->" + w.name,
                {"call", "request", Substitute("rpc::Reply<$0>(&call)", w.out)},
                ";")
          : WithArguments(kLambda + 2, "rpc::FinishWith",
                          {"call", StrCat("self->", w.name, "(call, request)")},
                          ";");
  return StrCat(Indented(kLambda, head), request, answer,
                std::string(kLambda, ' '), "}");
}

// The same for a method that streams.
std::string StreamAdapter(const MethodDescriptor& m) {
  const Words w(m);
  const std::string head = Substitute(
      R"([](void* handler, std::shared_ptr<rpc::ServerStream> stream,
   const ::google::protobuf::MessageLite*$1) {
  auto* self = static_cast<$0Handler*>(handler);
  rpc::ServerStream& call = *stream;
)",
      m.service()->name(), m.client_streaming() ? "" : " request");
  const std::string in =
      m.client_streaming()
          ? Substitute("rpc::Reader<$0>(stream)", w.in)
          : Substitute("static_cast<const $0&>(*request)", w.in);
  const std::string out = Substitute(
      "rpc::$0<$1>(stream)", m.server_streaming() ? "Writer" : "Reply", w.out);
  return StrCat(
      Indented(kLambda, head),
      WithArguments(kLambda + 2, "self->" + w.name, {"call", in, out}, ";"),
      std::string(kLambda, ' '), "}");
}

std::string TableRow(const MethodDescriptor& m) {
  static constexpr const char* kShapes[] = {"kUnary", "kServerStream",
                                            "kClientStream", "kBidi"};
  const Words w(m);
  return Substitute(
      R"(      {
          .service = kService,
          .name = "$0",
          .path = "/$1",
          .fingerprint = kFingerprint,
          .shape = rpc::Shape::$2,
          .run = rpc::Run::$3,
          .index = $4,
          .request = &$5::default_instance(),
          .reply = &$6::default_instance(),
          .move_reply = &rpc::MoveMessage<$6>,
          .$7 =
$8,
      },
)",
      m.name(), FullName(m),
      kShapes[m.client_streaming() * 2 + m.server_streaming()],
      Rules(m).run() == v1::INLINE ? "kInline" : "kPool", m.index(), w.in,
      w.out, IsUnary(m) ? "unary" : "stream",
      IsUnary(m) ? UnaryAdapter(m) : StreamAdapter(m));
}

// --- Services ----------------------------------------------------------------

std::string HandlerClass(const ServiceDescriptor& service) {
  std::string comment = LeadingComment(service);
  if (!comment.empty()) comment += "//\n";
  std::string out = Substitute(
      R"(
$1// Serves $2.
//
// Override what you implement: a method that is not overridden answers
// kUnimplemented. Methods run on several threads at once.
class $0Handler {
 public:
  virtual ~$0Handler();
)",
      service.name(), comment, service.full_name());
  for (int i = 0; i < service.method_count(); ++i) {
    out += HandlerDeclaration(*service.method(i));
  }
  return out + Substitute(R"(
  // What a server is given to serve `handler`, which must outlive it.
  friend ::tandem::rpc::Served Serve($0Handler& handler) {
    return {&$0Handler::Table(), &handler};
  }
  static const ::tandem::rpc::ServiceInfo& Table();
};
)",
                          service.name());
}

std::string ClientClass(const ServiceDescriptor& service) {
  std::string out = Substitute(
      R"(
// Calls $1.
//
// A unary method blocks until the answer is there; given `done`, it returns at
// once and runs done(absl::StatusOr<Reply>), or done(const absl::Status&,
// Reply&), once and on any thread, where it must not block.
//
// Thread safety: thread-safe.
class $0Client {
 public:
  // `transport` (an rpc::Channel or rpc::Session) must outlive the client.
  explicit $0Client(::tandem::rpc::Transport& transport)
      : transport_(transport) {}
)",
      service.name(), service.full_name());
  for (int i = 0; i < service.method_count(); ++i) {
    out += ClientDeclaration(*service.method(i));
  }
  return out + "\n private:\n  ::tandem::rpc::Transport& transport_;\n};\n";
}

std::string TableFunction(const ServiceDescriptor& service) {
  std::string rows;
  for (int i = 0; i < service.method_count(); ++i) {
    rows += TableRow(*service.method(i));
  }
  std::string out = Substitute(
      R"(
const ::tandem::rpc::ServiceInfo& $0Handler::Table() {
  namespace rpc = ::tandem::rpc;
  static constexpr char kService[] = "$1";
  static constexpr char kFingerprint[] =
      "$2";
)",
      service.name(), service.full_name(), Fingerprint(service));
  if (!rows.empty()) {
    absl::StrAppend(&out, "  static const rpc::Method kMethods[] = {\n", rows,
                    "  };\n");
  }
  return StrCat(out, "  static const rpc::ServiceInfo kInfo = {\n",
                "      .name = kService,\n",
                "      .fingerprint = kFingerprint,\n",
                "      .methods = ", rows.empty() ? "{}" : "kMethods",
                ",\n  };\n  return kInfo;\n}\n");
}

// --- Files -------------------------------------------------------------------

std::string Guard(const std::string& base) {
  std::string guard = StrCat(base, ".tandem.h_");
  for (char& c : guard) {
    const auto byte = static_cast<unsigned char>(c);
    c = std::isalnum(byte) ? static_cast<char>(std::toupper(byte)) : '_';
  }
  return guard;
}

std::string Banner(const FileDescriptor& file) {
  return StrCat("// Generated by protoc-gen-tandem from ", file.name(),
                ". Do not edit.\n\n");
}

std::string InNamespace(const FileDescriptor& file, const std::string& body) {
  const std::string name = Namespace(file);
  if (name.empty() || body.empty()) return body;
  return StrCat("\nnamespace ", name, " {\n", body, "\n}  // namespace ", name,
                "\n");
}

std::string Header(const FileDescriptor& file) {
  const std::string base = cpp::StripProto(file.name());
  const std::string guard = Guard(base);
  std::string classes;
  for (int i = 0; i < file.service_count(); ++i) {
    classes += HandlerClass(*file.service(i)) + ClientClass(*file.service(i));
  }
  if (classes.empty()) {
    return StrCat(Banner(file), "#ifndef ", guard, "\n#define ", guard,
                  "\n\n#include \"", base, ".pb.h\"\n\n#endif  // ", guard,
                  "\n");
  }
  std::set<std::string> includes = {
      base + ".pb.h",        "absl/status/statusor.h", "rpc/client/call.h",
      "rpc/client/stream.h", "rpc/client/transport.h", "rpc/server/call.h",
      "rpc/server/reply.h",  "rpc/wire/method.h"};
  std::string text = StrCat(Banner(file), "#ifndef ", guard, "\n#define ",
                            guard, "\n\n#include <utility>\n\n");
  for (const std::string& include : includes) {
    absl::StrAppend(&text, "#include \"", include, "\"\n");
  }
  return StrCat(text, InNamespace(file, classes), "\n#endif  // ", guard, "\n");
}

std::string Source(const FileDescriptor& file) {
  const std::string base = cpp::StripProto(file.name());
  std::string body;
  for (int i = 0; i < file.service_count(); ++i) {
    const ServiceDescriptor& service = *file.service(i);
    absl::StrAppend(&body, "\n", service.name(), "Handler::~", service.name(),
                    "Handler() = default;\n");
    for (int j = 0; j < service.method_count(); ++j) {
      body += HandlerDefinition(*service.method(j));
    }
    body += TableFunction(service);
    for (int j = 0; j < service.method_count(); ++j) {
      body += ClientDefinition(*service.method(j));
    }
  }
  const std::string includes = body.empty() ? "" : R"(
#include <memory>

#include "rpc/codegen/generated.h"
)";
  return StrCat(Banner(file), "#include \"", base, ".tandem.h\"\n", includes,
                InNamespace(file, body));
}

// Why no C++ can be written for `file`; empty if it can.
std::string Objection(const FileDescriptor& file) {
  for (absl::string_view part : absl::StrSplit(file.package(), '.')) {
    if (IsKeyword({part.data(), part.size()})) {
      return StrCat("package ", file.package(), ": '", part,
                    "' is a C++ keyword, and protoc's own C++ code does not "
                    "compile in such a namespace; rename the package");
    }
  }
  for (int i = 0; i < file.service_count(); ++i) {
    const ServiceDescriptor& service = *file.service(i);
    for (const char* suffix : {"Handler", "Client"}) {
      const std::string taken = service.full_name() + suffix;
      if (file.pool()->FindMessageTypeByName(taken) != nullptr ||
          file.pool()->FindEnumTypeByName(taken) != nullptr) {
        return StrCat("service ", service.full_name(), " makes the class ",
                      service.name(), suffix, ", but ", taken,
                      " is a message or an enum; rename one of them");
      }
    }
    for (int j = 0; j < service.method_count(); ++j) {
      const MethodDescriptor& method = *service.method(j);
      if (Rules(method).later() && !IsUnary(method)) {
        return StrCat(FullName(method),
                      " streams: 'later: true' is for unary methods, since "
                      "streams always answer later; remove it");
      }
    }
  }
  return "";
}

class Generator final : public google::protobuf::compiler::CodeGenerator {
 public:
  std::uint64_t GetSupportedFeatures() const override {
    return FEATURE_PROTO3_OPTIONAL;
  }

  bool Generate(const FileDescriptor* file, const std::string& parameter,
                google::protobuf::compiler::GeneratorContext* context,
                std::string* error) const override {
    *error = parameter.empty() ? Objection(*file)
                               : StrCat("unknown parameter '", parameter,
                                        "': protoc-gen-tandem takes none");
    if (!error->empty()) return false;
    const std::string base = cpp::StripProto(file->name());
    return Write(*context, base + ".tandem.h", Header(*file), error) &&
           Write(*context, base + ".tandem.cc", Source(*file), error);
  }

 private:
  static bool Write(google::protobuf::compiler::GeneratorContext& context,
                    const std::string& name, const std::string& text,
                    std::string* error) {
    const std::unique_ptr<google::protobuf::io::ZeroCopyOutputStream> stream(
        context.Open(name));
    google::protobuf::io::CodedOutputStream out(stream.get());
    out.WriteString(text);
    if (!out.HadError()) return true;
    *error = StrCat("cannot write ", name);
    return false;
  }
};

}  // namespace
}  // namespace tandem::rpc

int main(int argc, char** argv) {
  const tandem::rpc::Generator generator;
  return google::protobuf::compiler::PluginMain(argc, argv, &generator);
}
