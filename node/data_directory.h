// The directory that a node keeps its chain in.

#ifndef TANDEM_NODE_DATA_DIRECTORY_H_
#define TANDEM_NODE_DATA_DIRECTORY_H_

#include <string>

#include "absl/status/statusor.h"
#include "node/genesis.h"
#include "node/validator_key.h"
#include "rpc/base/unique_fd.h"

namespace tandem::node {

// A directory, locked for this process, with
//   tandem-node.json         whose it is: program, store version, chain id
//   genesis.json             what the chain started from
//   priv_validator_key.json  the node's key, unless it is kept elsewhere
//   blocks/                  the BlockStore
//
// Thread safety: thread-compatible.
class DataDirectory {
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
  // Errors: kFailedPrecondition when it is another program's, of another store
  // version, of another chain than `genesis_file`, or open in another process;
  // those of the files in it; those of the system, with the path.
  static absl::StatusOr<DataDirectory> Open(const Options& options);

  const Genesis& genesis() const { return genesis_; }
  const ValidatorKey& key() const { return key_; }
  // Where the block store is.
  std::string blocks() const { return path_ + "/blocks"; }

 private:
  DataDirectory(std::string path, rpc::UniqueFd lock, Genesis genesis,
                ValidatorKey key);

  std::string path_;
  rpc::UniqueFd lock_;  // the directory, held by flock(2)
  Genesis genesis_;
  ValidatorKey key_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_DATA_DIRECTORY_H_
