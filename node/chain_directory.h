// The directory that a node keeps its chain in.

#ifndef TANDEM_NODE_CHAIN_DIRECTORY_H_
#define TANDEM_NODE_CHAIN_DIRECTORY_H_

#include <string>

#include "absl/status/statusor.h"
#include "node/genesis.h"
#include "node/validator_key.h"
#include "rpc/server/data_directory.h"

namespace tandem::node {

// A data directory with
//   tandem-node.json         its marker, with the chain's id and genesis hash
//   genesis.json             what the chain started from
//   priv_validator_key.json  the node's key, unless it is kept elsewhere
//   blocks/                  the BlockStore
//
// Thread safety: thread-compatible.
class ChainDirectory {
 public:
  struct Options {
    std::string path;
    // A file to start the chain from. Empty: the directory's own, or a new
    // chain.
    std::string genesis_file;
    // Empty: the directory's own key, made when there is none.
    std::string validator_key_file;
  };

  // Opens the directory, or makes it.
  //
  // Errors: those of rpc::DataDirectory; kFailedPrecondition when it is another
  // chain's than that of `genesis_file`, or its genesis was changed; those of
  // the files in it.
  static absl::StatusOr<ChainDirectory> Open(const Options& options);

  // What is in a directory that is only looked at, by
  // DataDirectory::OpenToRead.
  struct Reading {
    rpc::DataDirectory directory;  // keeps the lock
    absl::StatusOr<Genesis> genesis;
    // That of the directory; nothing where the node's is elsewhere.
    absl::Status key;
    std::string blocks;
    // False when no node has come so far.
    bool has_blocks = false;
  };
  // Errors: those of rpc::DataDirectory. What is wrong with a file is in its
  // place.
  static absl::StatusOr<Reading> OpenToRead(const std::string& path);

  const Genesis& genesis() const { return genesis_; }
  const ValidatorKey& key() const { return key_; }
  // Where the block store is.
  std::string blocks() const;

 private:
  ChainDirectory(rpc::DataDirectory directory, Genesis genesis,
                 ValidatorKey key);

  rpc::DataDirectory directory_;
  Genesis genesis_;
  ValidatorKey key_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CHAIN_DIRECTORY_H_
