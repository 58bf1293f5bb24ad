# Where things are, and the few words that every verb uses. Sourced, not run.
set -euo pipefail
HERE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
TOOLS=$HERE/../tools
STATE=${MORA_DEVCLUSTER:-${XDG_CACHE_HOME:-$HOME/.cache}/mora/devcluster}
RUN=/run/mora-devcluster # sockets and mounts: short paths, gone after a restart of the machine
LOG=$STATE/log PKI=$STATE/pki
NETWORK=mora             # the network namespace that the whole cluster lives in
CGROUP=mora              # the kubelet removes groups of pods that it does not know: no other kubelet may share its root
NODE_IP=192.0.2.10       # of a range that is nobody's (RFC 5737); seen in the cluster's own network only
SOCKET=$RUN/containerd.sock
export KUBECONFIG=$STATE/admin.kubeconfig

say() { echo "devcluster: $*" >&2; }
TOLD=79 # exit status of a step that said itself why it failed
fail() { # one line, to the terminal also where the output of a step goes to a file (see step)
  if [ -z "${STEP:-}" ]; then say "$*"; exit 1; fi
  say "up failed at $STEP: $*" 2>&9
  exit $TOLD
}
need_root() { [ "$(id -u)" = 0 ] || fail "needs root, for network namespaces and mounts"; }
need_cluster() { [ -e "/run/netns/$NETWORK" ] || fail "the cluster is not up: hack/devcluster/up"; }
inside() { nsenter --net="/run/netns/$NETWORK" "$@"; }
kube() { inside "$BIN/kubectl" "$@"; }
ctrd() { inside ctr --address "$SOCKET" --namespace k8s.io "$@"; }
BIN=$("$TOOLS/build" where)
