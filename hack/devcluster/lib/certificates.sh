# One authority, a certificate for each component, and kubeconfigs made of them. Sourced, not run.

certificate() { # NAME SUBJECT EXTENSIONS
  openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$PKI/$1.key" -out "$PKI/$1.csr"
  openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days 3650 \
    -extfile <(printf '%b' "$3") -out "$PKI/$1.crt"
}

kubeconfig() { # NAME [FILE]
  local file=${2:-$STATE/$1.kubeconfig}
  "$BIN/kubectl" --kubeconfig="$file" config set-cluster mora --server=https://127.0.0.1:6443 \
    --certificate-authority="$PKI/ca.crt" --embed-certs
  "$BIN/kubectl" --kubeconfig="$file" config set-credentials "$1" \
    --client-certificate="$PKI/$1.crt" --client-key="$PKI/$1.key" --embed-certs
  "$BIN/kubectl" --kubeconfig="$file" config set-context mora --cluster=mora --user="$1"
  "$BIN/kubectl" --kubeconfig="$file" config use-context mora
}

certificates() {
  [ -f "$PKI/.done" ] && return
  local client=extendedKeyUsage=clientAuth name service=DNS:kubernetes
  for name in default svc cluster.local; do service+=,${service##*,}.$name; done
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=mora-devcluster -keyout "$PKI/ca.key" -out "$PKI/ca.crt"
  openssl genrsa -out "$PKI/sa.key" 2048
  openssl rsa -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub"
  certificate apiserver /CN=kube-apiserver \
    "subjectAltName=$service,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:$NODE_IP\nextendedKeyUsage=serverAuth"
  certificate node /O=system:nodes/CN=system:node:node-1 \
    "subjectAltName=DNS:node-1,IP:127.0.0.1,IP:$NODE_IP\nextendedKeyUsage=clientAuth,serverAuth"
  certificate admin /O=system:masters/CN=admin $client
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client $client
  certificate front-proxy /CN=front-proxy $client # the API server towards APIs that pods serve
  for name in controller-manager scheduler proxy; do certificate $name /CN=system:kube-$name $client; done
  for name in admin node controller-manager scheduler proxy; do kubeconfig $name; done
  touch "$PKI/.done"
}
