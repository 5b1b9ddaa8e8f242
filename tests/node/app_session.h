// Sessions with a FakeApp.

#ifndef TANDEM_TESTS_NODE_APP_SESSION_H_
#define TANDEM_TESTS_NODE_APP_SESSION_H_

#include <memory>

#include "rpc/client/session.h"
#include "tests/node/fake_app.h"

namespace tandem::node {

// A session with `app`, which outlives it: over the wire that
// tests/support/wire.h names, from a server of the session's own; else in this
// process. The application answers so many calls at once.
std::unique_ptr<rpc::Session> OpenAppSession(FakeApp& app, int workers);

}  // namespace tandem::node

#endif  // TANDEM_TESTS_NODE_APP_SESSION_H_
