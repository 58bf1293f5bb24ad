# The one node: its network, containerd, the kubelet and kube-proxy. Sourced, not run.

packages() {
  command -v containerd runc iptables conntrack ip debootstrap zstd openssl >/dev/null && [ -x /usr/lib/cni/bridge ] && return
  command -v apt-get >/dev/null || fail "needs containerd, runc, CNI plugins in /usr/lib/cni, iptables, conntrack, ip, debootstrap, zstd, openssl"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    containerd runc containernetworking-plugins iptables conntrack iproute2 debootstrap zstd openssl ca-certificates
}

network() {
  [ -e "/run/netns/$NETWORK" ] || ip netns add "$NETWORK"
  inside ip link set lo up
  # The node's address is on a bridge of its own; the default route leads nowhere, and lets addresses be chosen.
  inside ip link show node0 2>/dev/null || inside ip link add node0 type bridge
  inside ip addr replace "$NODE_IP/24" dev node0
  inside ip link set node0 up
  inside ip route replace default via 192.0.2.1 dev node0
  inside sysctl -qw net.ipv4.ip_forward=1
  inside sysctl -qw net.bridge.bridge-nf-call-iptables=1 || true # where the kernel has no such switch, it filters anyway
}

cgroups() {
  local controller file
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then # version 2
    mkdir -p "/sys/fs/cgroup/$CGROUP"
    return
  fi
  for controller in /sys/fs/cgroup/*/; do
    [ -w "$controller/cgroup.procs" ] || continue
    mkdir -p "$controller$CGROUP"
    for file in cpuset.cpus cpuset.mems; do # a new cpuset is empty, and nothing can run in it
      if [ -f "$controller$CGROUP/$file" ]; then cat "$controller$file" >"$controller$CGROUP/$file"; fi
    done
  done
}

configuration() { # config/* with this machine's paths
  local file
  mkdir -p "$STATE/cni" "$STATE/containerd" "$STATE/volume-plugins" "$STATE/pod-logs"
  echo "nameserver 192.0.2.1" >"$STATE/resolv.conf"
  for file in containerd.toml kubelet.yaml bridge.conflist; do
    sed -e "s#@STATE@#$STATE#g; s#@RUN@#$RUN#g; s#@PKI@#$PKI#g; s#@SOCKET@#$SOCKET#g; s#@CGROUP@#$CGROUP#g" \
      "$HERE/config/$file" >"$STATE/$file"
  done
  mv "$STATE/bridge.conflist" "$STATE/cni/10-bridge.conflist"
}

node_is_ready() { kube wait --for=condition=Ready node/node-1 --timeout=1s; }

node() {
  configuration
  cgroups
  start containerd containerd --config "$STATE/containerd.toml"
  await 30 containerd ctrd version
  has_image localhost/pause:1 || import_binary localhost/pause:1 pause
  start kubelet "$BIN/kubelet" --config="$STATE/kubelet.yaml" --kubeconfig="$STATE/node.kubeconfig" \
    --hostname-override=node-1 --node-ip="$NODE_IP" --root-dir="$STATE/kubelet"
  start proxy "$BIN/kube-proxy" --kubeconfig="$STATE/proxy.kubeconfig" --hostname-override=node-1 \
    --cluster-cidr=10.244.0.0/16 --proxy-mode=iptables --conntrack-max-per-core=0
  await 90 kubelet node_is_ready
}
