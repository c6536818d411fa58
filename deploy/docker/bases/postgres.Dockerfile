# Stands in for the official image where that cannot be pulled: the same name, variables, port and data folder, of the same binaries that
# `./xenolith up` runs. The build context is the package's `native` folder.
FROM debian:bookworm-slim
RUN useradd --system --uid 999 --home-dir /var/lib/postgresql postgres \
  && install -d -o postgres -g postgres -m 700 /var/lib/postgresql/18/docker /var/run/postgresql
COPY native/ /usr/lib/postgresql/18/
RUN echo /usr/lib/postgresql/18/lib >/etc/ld.so.conf.d/postgresql.conf && ldconfig
COPY --chmod=755 postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/lib/postgresql/18/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PGDATA=/var/lib/postgresql/18/docker
USER postgres
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
