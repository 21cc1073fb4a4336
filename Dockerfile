# docker build -t hgcache .                     a node
# docker build -t hgcache-etcd --target etcd .  etcd from the same Debian, for configs/compose.yaml
#
# The image holds the Debian package and what it depends on, and runs as a user without rights. Its configuration is
# /etc/hgcache/config.lua (configs/node.lua); mount yours there. Arguments behind the image's name are those of hgcache.

FROM debian:12-slim AS build
WORKDIR /src
COPY scripts/setup.sh scripts/setup.sh
RUN scripts/setup.sh build package && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset release && cmake --build --preset release && \
    cd build/release && cpack -G DEB -B /out && mv /out/*.deb /out/hgcache.deb

FROM debian:12-slim AS etcd
RUN apt-get update && apt-get install -y --no-install-recommends etcd-server etcd-client && \
    rm -rf /var/lib/apt/lists/* && mkdir -p /data && chown 10001:10001 /data
USER 10001:10001
ENTRYPOINT ["etcd", "--data-dir", "/data"]

FROM debian:12-slim
COPY --from=build /out/hgcache.deb /tmp/hgcache.deb
RUN apt-get update && apt-get install -y --no-install-recommends /tmp/hgcache.deb && \
    rm -rf /tmp/hgcache.deb /var/lib/apt/lists/* && chmod 0755 /etc/hgcache && chmod 0644 /etc/hgcache/config.lua
USER 10001:10001
EXPOSE 8001 8791 8792
STOPSIGNAL SIGTERM
ENTRYPOINT ["hgcache"]
CMD ["run", "/etc/hgcache/config.lua", "api=0.0.0.0:8791"]
