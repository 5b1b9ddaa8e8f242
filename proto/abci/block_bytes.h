// How transactions count against the size of a block.

#ifndef TANDEM_PROTO_ABCI_BLOCK_BYTES_H_
#define TANDEM_PROTO_ABCI_BLOCK_BYTES_H_

#include <cstddef>
#include <cstdint>

#include "google/protobuf/io/coded_stream.h"

namespace tandem::abci {

// What a transaction of `tx_bytes` takes of
// RequestPrepareProposal::max_tx_bytes: its bytes, their length and a tag.
inline std::int64_t BytesInBlock(std::size_t tx_bytes) {
  return 1 + google::protobuf::io::CodedOutputStream::VarintSize64(tx_bytes) +
         static_cast<std::int64_t>(tx_bytes);
}

}  // namespace tandem::abci

#endif  // TANDEM_PROTO_ABCI_BLOCK_BYTES_H_
