# etcd, the API server, the controllers and the scheduler. Sourced, not run.

etcd_is_healthy() {
  inside timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/2379; printf "GET /health HTTP/1.0\r\n\r\n" >&3; grep -q "\"health\":\"true\"" <&3'
}

control_plane() {
  local client=http://127.0.0.1:2379 manager=$STATE/controller-manager.kubeconfig scheduler=$STATE/scheduler.kubeconfig
  start etcd "$BIN/etcd" --data-dir="$STATE/etcd" --log-level=warn --unsafe-no-fsync \
    --listen-client-urls=$client --advertise-client-urls=$client --listen-peer-urls=http://127.0.0.1:2380
  await 60 etcd etcd_is_healthy
  start apiserver "$BIN/kube-apiserver" --etcd-servers=$client --secure-port=6443 --advertise-address="$NODE_IP" \
    --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-cluster-ip-range=10.96.0.0/16 \
    --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --kubelet-preferred-address-types=InternalIP \
    --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-client-certificate="$PKI/kubelet-client.crt" \
    --kubelet-client-key="$PKI/kubelet-client.key" \
    --requestheader-client-ca-file="$PKI/ca.crt" --requestheader-allowed-names=front-proxy \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$PKI/front-proxy.crt" --proxy-client-key-file="$PKI/front-proxy.key"
  await 90 apiserver kube get --raw /readyz
  start controller-manager "$BIN/kube-controller-manager" --kubeconfig="$manager" --authentication-kubeconfig="$manager" \
    --authorization-kubeconfig="$manager" --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials \
    --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
    --allocate-node-cidrs --cluster-cidr=10.244.0.0/16
  start scheduler "$BIN/kube-scheduler" --kubeconfig="$scheduler" --authentication-kubeconfig="$scheduler" \
    --authorization-kubeconfig="$scheduler" --bind-address=127.0.0.1 --leader-elect=false
}
