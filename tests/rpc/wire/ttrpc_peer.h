// The other end of a ttrpc connection, as a test plays it by hand.

#ifndef TANDEM_TESTS_RPC_WIRE_TTRPC_PEER_H_
#define TANDEM_TESTS_RPC_WIRE_TTRPC_PEER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"
#include "rpc/base/unique_fd.h"
#include "rpc/wire/ttrpc/frame.h"

namespace tests::wire {

// What a server sends, as bytes.
std::string ReplyFrame(std::uint32_t id,
                       const google::protobuf::MessageLite& message);
std::string ErrorFrame(std::uint32_t id, const absl::Status& status);
std::string DataFrame(std::uint32_t id,
                      const google::protobuf::MessageLite& message);
std::string ClosedFrame(std::uint32_t id);
std::string CreditFrame(std::uint32_t id, std::uint32_t messages);

// Thread safety: thread-compatible.
class TtrpcPeer {
 public:
  struct Frame {
    tandem::rpc::ttrpc::FrameHeader header;
    std::string data;

    // Of a Request; views into `data`.
    tandem::rpc::ttrpc::Request request() const;
  };

  explicit TtrpcPeer(tandem::rpc::UniqueFd fd);

  // The next frame; none at the end, or when none comes for 30 seconds.
  std::optional<Frame> Read();
  // The same; an error of the test when there is none.
  Frame MustRead();
  // Whether nothing more has come by now.
  bool IsQuiet();
  void Send(std::string_view bytes);
  void Close() { fd_.Reset(); }
  int fd() const { return fd_.get(); }

 private:
  bool ReadFully(std::string* into, std::size_t bytes);

  tandem::rpc::UniqueFd fd_;
};

}  // namespace tests::wire

#endif  // TANDEM_TESTS_RPC_WIRE_TTRPC_PEER_H_
