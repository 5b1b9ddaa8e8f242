// Early return on error, for functions that return absl::Status or StatusOr.

#ifndef TANDEM_RPC_BASE_STATUS_MACROS_H_
#define TANDEM_RPC_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Evaluates `expr`; returns its status from the current function unless OK.
#define TANDEM_RETURN_IF_ERROR(expr)               \
  do {                                             \
    absl::Status tandem_status = (expr);           \
    if (!tandem_status.ok()) return tandem_status; \
  } while (false)

#define TANDEM_CONCAT_INNER(a, b) a##b
#define TANDEM_CONCAT(a, b) TANDEM_CONCAT_INNER(a, b)

// Moves the value of `expr` into `lhs`; returns its status unless OK.
#define TANDEM_ASSIGN_OR_RETURN(lhs, expr) \
  TANDEM_ASSIGN_OR_RETURN_INNER(TANDEM_CONCAT(tandem_or_, __LINE__), lhs, expr)
#define TANDEM_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                  \
  if (!tmp.ok()) return std::move(tmp).status();      \
  lhs = *std::move(tmp)

#endif  // TANDEM_RPC_BASE_STATUS_MACROS_H_
