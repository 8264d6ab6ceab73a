-- As the database's superuser, such as `runuser -u postgres -- psql -f databases.sql`; runs twice
-- without harm. The role is let in through the Unix socket by its operating system's user (peer,
-- Debian's default), so that there is no password to keep.
SELECT 'CREATE ROLE causeway LOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'causeway') \gexec
SELECT format('CREATE DATABASE %I OWNER causeway', name)
FROM unnest(ARRAY['causeway_mlflow', 'causeway_mlflow_auth', 'causeway_prefect']) AS name
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
